#!/usr/bin/env bash
# Makes sure that there is a Chromium and what drives it; says on stderr what is missing and fails where there is not.
#     install.sh FOLDER    (FOLDER takes playwright-core from npm)
set -euo pipefail

folder=$1
if ! command -v chromium >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "chromium is not installed, and only root can install it" >&2; exit 1; }
    command -v apt-get >/dev/null || { echo "chromium is not installed, and there is no apt-get" >&2; exit 1; }
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium fonts-dejavu; } >/dev/null ||
        { echo "chromium can't be installed" >&2; exit 1; }
fi
command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are not installed" >&2; exit 1; }
if [ ! -e "$folder/node_modules/playwright-core" ]; then
    mkdir -p "$folder"
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent --no-audit --no-fund --no-save --prefix "$folder" "playwright-core@1.65.1" >/dev/null ||
        { echo "playwright-core can't be installed from npm" >&2; exit 1; }
fi
