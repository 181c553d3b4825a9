/** The service, as the page calls it. Addresses are relative: the page may lie below any path. */

/** A refusal of the service, or no answer at all (status 0). */
export class ApiError extends Error {
  constructor(status, { code = "", message = "", field = "" } = {}, requestId = "", retryAfter = null) {
    super(message || code || `status ${status}`);
    Object.assign(this, { status, code, field, requestId, retryAfter, said: message });
  }
}

export async function modelInfo() {
  const answer = await fetch("model/info", { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new ApiError(answer.status);
  return answer.json();
}

/**
 * The lines of a picture, as a `linegroup.lines/1` document.
 * @param {{file: Blob, name: string}} picture
 * @param {object} settings grouping settings to change
 * @param {{signal: AbortSignal, onUpload: function(number): void}} how `onUpload` is told the share that was sent
 */
export async function findLines(picture, settings, how) {
  const answer = await post("v1/lines", form(picture, { ...wireNames(settings), mask: "rle" }), how);
  return JSON.parse(await answer.text());
}

/** The lines of a picture as a file of another format; `settings` as they were when its lines were found. */
export function exportLines(format, picture, settings) {
  return post("v1/lines", form(picture, { ...wireNames(settings), format }), {});
}

// Settings have the names of the reference service on the wire where it has them.
const WIRE_NAMES = { method: "clustering_method", candidates: "candidate_method" };

function wireNames(settings) {
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [WIRE_NAMES[name] ?? name, value]));
}

function form(picture, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, String(value));
  body.append("file", picture.file, picture.name);
  return body;
}

/** XMLHttpRequest, for only it tells how much was sent. */
function post(path, body, { signal, onUpload }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "blob";
    request.upload.onprogress = (event) => event.lengthComputable && onUpload?.(event.loaded / event.total);
    request.upload.onload = () => onUpload?.(1);
    request.onerror = () => reject(new ApiError(0));
    request.ontimeout = request.onerror;
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = async () => {
      if (request.status >= 200 && request.status < 300) resolve(request.response);
      else reject(await refusal(request));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

async function refusal(request) {
  let answer = {};
  try {
    answer = JSON.parse(await request.response.text());
  } catch {
    // A proxy's page, say: the status has to do.
  }
  const seconds = Number.parseFloat(request.getResponseHeader("Retry-After") ?? "");
  const busy = request.status === 503 || request.status === 429;
  const retryAfter = busy ? Math.min(Math.max(Number.isFinite(seconds) ? seconds : 2, 0), 60) : null;
  const requestId = answer.request_id ?? request.getResponseHeader("X-Request-ID") ?? "";
  return new ApiError(request.status, answer.error ?? {}, requestId, retryAfter);
}
