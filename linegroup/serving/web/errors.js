/** What went wrong, in words for the person in front of the page. */

import { ApiError } from "./api.js";

const TITLES = {
  0: "No connection to the service",
  401: "You are signed out",
  403: "This is not allowed",
  404: "The service does not know this request",
  408: "Sending took too long",
  413: "The picture is too large",
  415: "Not a picture",
  422: "A setting cannot be used",
  429: "Too many requests",
  503: "The service is busy",
  504: "Finding the lines took too long",
};

/** By the word for programs, where the status alone says too little. */
const TITLES_BY_CODE = {
  damaged_picture: "The picture is damaged",
  too_many_pixels: "The picture is too large",
  cannot_be_done: "This cannot be done with these settings",
};

const ADVICE = {
  0: "Check that it runs and that you are online. Your picture is still here.",
  401: "Reload the page and sign in.",
  413: "Scale it down and open it again.",
  415: "Use a PNG, JPEG, WebP, BMP, GIF or TIFF file.",
  429: "Wait a moment, then try again.",
  503: "It did not get to your picture. Wait a moment, then try again.",
  504: "Try a smaller picture, or fewer pixels to group.",
};

/** Those where the same request may well work the next time. */
const AGAIN = new Set([0, 408, 429, 500, 502, 503, 504]);

/** @returns {{title: string, text: string, field: string, requestId: string, again: string|null}} */
export function describe(error) {
  if (!(error instanceof ApiError)) {
    return {
      title: "The answer cannot be shown",
      text: String(error.message ?? error),
      field: "",
      requestId: "",
      again: "run",
    };
  }
  const { status, code, said, field, requestId } = error;
  const title =
    TITLES_BY_CODE[code] ?? TITLES[status] ?? (status >= 500 ? "The service failed" : "The service refused this");
  const text = [said, said && status === 415 ? "" : ADVICE[status]].filter(Boolean).join(" ");
  return {
    title,
    text: text || `It answered with status ${status}.`,
    field,
    requestId,
    again: AGAIN.has(status) ? "run" : null,
  };
}
