// Requests under /v1. The token is in this tab's memory and its session storage, and in no address.

const KEY = "sweep-token";
let token = null;
try { token = sessionStorage.getItem(KEY); } catch { /* then it holds until the page is left */ }

export function hasToken() { return token !== null; }
export function keepToken(text) {
  token = text;
  try { sessionStorage.setItem(KEY, text); } catch { /* see above */ }
}
export function dropToken() {
  token = null;
  try { sessionStorage.removeItem(KEY); } catch { /* see above */ }
}

/** Takes the token out of the address, if it is there: `#token=…`. */
export function takeTokenFromAddress() {
  const found = /^#token=([^&]+)/.exec(location.hash);
  if (!found) return false;
  let text = found[1];
  try { text = decodeURIComponent(text); } catch { /* it is meant as it stands */ }
  keepToken(text);
  history.replaceState(null, "", `${location.pathname}#/`);
  return true;
}

/** What the server refused, in its words; `status` 0 where it could not be asked. */
export class Problem extends Error {
  constructor(status, detail, help) {
    super(detail);
    this.status = status;
    this.help = help || null;
  }
}

export function headers(more) { return { authorization: `Bearer ${token}`, ...more }; }

async function ask(path, options) {
  let response;
  try {
    response = await fetch(`v1/${path}`, { cache: "no-store", credentials: "omit", ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "the coordinator can't be reached");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const said = await response.json().catch(() => ({}));
  throw new Problem(response.status, said.detail || `the coordinator answered ${response.status}`, said.help);
}

export const get = (path, signal) => ask(path, { signal });
export const post = (path, body) => ask(path, body === undefined ? { method: "POST" } : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
