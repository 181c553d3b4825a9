#!/usr/bin/env bash
# Chromium from the system's packages, where there is none yet and the system has apt.
set -euo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then
    echo "Chromium is there: $(command -v "$name")"
    exit 0
  fi
done
if ! command -v apt-get >/dev/null; then
  echo "There is no apt-get here; install Chromium by hand." >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "Installing Chromium needs root." >&2; exit 1; }
  sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
# A registry that does not answer must not hold up everything else.
"${sudo[@]}" timeout 120 apt-get -qq update || true
"${sudo[@]}" timeout 600 apt-get -qq -y install --no-install-recommends chromium >/dev/null
