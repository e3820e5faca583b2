// Asks the router.

export class Problem extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function answered(response) {
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, body.problem ?? `answer ${response.status}`);
  return body;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Problem(0, "the router does not answer");
  }
  return answered(response);
}

export function get(path, params = {}, signal = undefined) {
  const query = new URLSearchParams(params).toString();
  return request(query ? `/api/${path}?${query}` : `/api/${path}`, { signal });
}

export function post(path, body = {}) {
  return request(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

// News, until `close` of what is returned is called. `heard` gets the kind and the content.
export function follow(heard, silent) {
  const source = new EventSource("/api/live");
  for (const kind of ["recent", "status", "events", "logout"]) {
    source.addEventListener(kind, (event) => heard(kind, JSON.parse(event.data)));
  }
  source.onerror = () => silent(source.readyState === EventSource.CLOSED);
  return source;
}
