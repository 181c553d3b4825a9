"""The straightforward service to compare with: one FastAPI process, eager network, DBSCAN on all that is not white.

It is written for the benchmark from the parameters that users know, and does what they do in the plainest way: decode,
one pass of the network in NCHW, every pixel that is not white a candidate, scikit-learn's DBSCAN on their embeddings,
everything in the handler, the answer as lists in JSON. The network is the packaged one.

    python benchmarks/reference_service.py PORT
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Form, HTTPException, UploadFile
from sklearn.cluster import DBSCAN

from linegroup.training.artifact import PRETRAINED_FOLDER, load_artifact

MAX_CANDIDATE_POINTS = 50_000


def build() -> FastAPI:
    """The application, its network loaded."""
    model = load_artifact(PRETRAINED_FOLDER).build("cpu").to(memory_format=torch.contiguous_format)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/cluster")
    def cluster(
        file: UploadFile,
        eps: Annotated[float, Form()] = 0.5,
        min_samples: Annotated[int, Form()] = 10,
        white_threshold: Annotated[int, Form()] = 245,
        max_candidate_points: Annotated[int, Form()] = MAX_CANDIDATE_POINTS,
    ) -> dict[str, Any]:
        content = np.frombuffer(file.file.read(), dtype=np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        if image is None:
            raise HTTPException(400, "no picture")
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None].float().div(255).contiguous()
        with torch.no_grad():
            features = model.backbone(tensor)
            embedding = model.heads["embedding"](features)[0]
        ys, xs = np.nonzero((rgb < white_threshold).any(axis=2))
        if len(xs) > max_candidate_points:
            chosen = np.random.default_rng(0).choice(len(xs), max_candidate_points, replace=False)
            xs, ys = xs[chosen], ys[chosen]
        points = embedding[:, ys, xs].T.numpy()
        labels = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points) if len(points) else np.zeros(0, int)
        positions, colours = np.stack([xs, ys], axis=1), rgb[ys, xs]
        found = [int(k) for k in np.unique(labels) if k >= 0]
        return {
            "num_clusters": len(found),
            "clusters": {str(k): positions[labels == k].tolist() for k in found},
            "cluster_pixel_values": {str(k): colours[labels == k].tolist() for k in found},
            "noise": positions[labels < 0].tolist(),
            "meta": {"width": rgb.shape[1], "height": rgb.shape[0]},
        }

    return app


if __name__ == "__main__":
    uvicorn.run(build(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
