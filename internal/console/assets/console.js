// The page's own script: takes a link's secret, keeps the token of this origin, and shows
// what the daemon streams. All markup comes from the daemon, which has escaped it.

import { begin } from '/assets/scanner.js';

const tokenKey = 'usbkeyd-token';
const staleAfter = 4000; // ms; the daemon beats once a second
const presentEvery = 20000; // ms

const byID = (id) => document.getElementById(id);
const token = () => localStorage.getItem(tokenKey) || '';

// Only this policy makes markup of text (Trusted Types); where a browser has none, the
// text is taken as it is.
const markup = window.trustedTypes
  ? window.trustedTypes.createPolicy('usbkeyd', { createHTML: (text) => text })
  : { createHTML: (text) => text };

function element(text) {
  const t = document.createElement('template');
  t.innerHTML = markup.createHTML(text);
  return t.content.firstElementChild;
}

// post sends a change. The token goes in a header, never in an address.
function post(path, value) {
  return fetch(path, {
    method: 'POST', cache: 'no-store', redirect: 'error',
    headers: { 'Content-Type': 'application/json', 'X-Usbkeyd-Token': token() },
    body: JSON.stringify(value),
  });
}

// state shows one of: starting, live, locked, broken.
function state(name) {
  document.body.dataset.state = name;
  byID('locked').hidden = name !== 'locked';
  byID('broken').hidden = name !== 'broken';
  if (name === 'locked' || name === 'broken') {
    byID('head').replaceChildren();
    byID('main').replaceChildren();
    byID('stale').hidden = true;
    byID('label-said').hidden = true;
    document.title = 'usbkeyd';
  }
}

// kept remembers what has the focus, what is typed and which details are open, and puts it back.
function kept(change) {
  const focused = document.activeElement && document.activeElement.id;
  const open = [...document.querySelectorAll('details[open]')].map((d) => d.id);
  const typed = [...document.querySelectorAll('input[id]')].map((i) => [i.id, i.value]);
  change();
  for (const id of open) if (byID(id)) byID(id).open = true;
  for (const [id, value] of typed) if (byID(id)) byID(id).value = value;
  const again = focused && byID(focused);
  if (again && again !== document.activeElement) again.focus({ preventScroll: true });
}

function show(frame) {
  document.documentElement.lang = frame.language;
  document.title = frame.title;
  kept(() => {
    byID('head').replaceWith(element(frame.head[1]));
    byID('main').replaceChildren(...frame.parts.map((p) => element(p[1])));
  });
  performance.mark('usbkeyd-shown');
  state('live');
}

function patch(parts) {
  kept(() => {
    for (const [id, text] of parts) byID(id)?.replaceWith(element(text));
  });
}

// clocks writes how long steps have been going on: the daemon's clock is this machine's.
function clocks() {
  for (const t of document.querySelectorAll('time[data-since]')) {
    const s = Math.max(0, Math.floor((Date.now() - Number(t.dataset.since)) / 1000));
    t.textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
  }
}

let heard = 0; // when the daemon was last heard
let running = null; // ends the stream that is open

function take(name, data) {
  heard = Date.now();
  byID('stale').hidden = true;
  if (name === 'screen') show(JSON.parse(data));
  if (name === 'parts') patch(JSON.parse(data));
  if (name === 'locked' || name === 'broken') state(name);
  clocks();
}

// read takes a stream of events apart. EventSource cannot send the token's header.
async function read(response) {
  const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await lines.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const [name, data] = rest.slice(0, end).split('\n');
      rest = rest.slice(end + 2);
      take(name.slice('event: '.length), data.slice('data: '.length));
    }
  }
}

const screen = () => (/^#\/([a-z]+(?:\/[^/]+)?)$/.exec(location.hash) || ['', 'bays'])[1];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// watch shows a screen until another is wanted, and comes back by itself.
async function watch() {
  running?.abort();
  const mine = (running = new AbortController());
  for (let failures = 0; !mine.signal.aborted; failures++) {
    if (!token()) return state('locked');
    try {
      const response = await fetch(`/live/${screen()}`, {
        cache: 'no-store', redirect: 'error', signal: mine.signal, headers: { 'X-Usbkeyd-Token': token() },
      });
      if (response.status === 401) {
        localStorage.removeItem(tokenKey);
        return state('locked');
      }
      if (response.ok) {
        failures = 0;
        await read(response);
        if (document.body.dataset.state === 'locked') {
          localStorage.removeItem(tokenKey);
          return undefined;
        }
      }
    } catch {
      // Broken off, here or there: stale says so, and it is tried again.
    }
    if (!mine.signal.aborted) await pause(Math.min(200 * 2 ** failures, 3000));
  }
  return undefined;
}

// arrive looks at the address: a link's secret is used up and wiped from it, anything else
// is a screen.
async function arrive() {
  const link = /^#link=([\w-]+)$/.exec(location.hash);
  if (link) {
    history.replaceState(null, '', '/#/' + (sessionStorage.getItem('usbkeyd-screen') || 'bays'));
    const response = await post('/session', { link: link[1] });
    if (!response.ok) {
      localStorage.removeItem(tokenKey);
      return state('locked');
    }
    localStorage.setItem(tokenKey, (await response.json()).token);
  }
  sessionStorage.setItem('usbkeyd-screen', screen());
  return watch();
}

let presentAt = 0;

// here tells the daemon that somebody is at the page, now and then.
function here() {
  if (document.body.dataset.state !== 'live' || Date.now() - presentAt < presentEvery) return;
  presentAt = Date.now();
  post('/present', {}).catch(() => { presentAt = 0; });
}

// search looks for what was typed or scanned. What has neither letter nor digit names nothing.
function search(text) {
  const code = text.trim();
  if (/[\p{L}\p{N}]/u.test(code)) location.hash = `#/search/${encodeURIComponent(code)}`;
}

const scanGap = 60; // ms; a scanner types faster than hands do
const shortestScan = 4;
let scanned = '';
let scannedAt = 0;

// keys takes the search field's Enter, the key that leads to it, and what a scanner types
// where nobody else wants it: fast, and Enter at its end.
function keys(event) {
  if (document.body.dataset.state !== 'live' || event.defaultPrevented && event.key !== ' ' || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  const field = byID('search');
  if (event.target.matches?.('input, textarea, select')) {
    if (event.target === field && event.key === 'Enter') {
      search(field.value);
      field.value = '';
    }
    return;
  }
  const fast = event.timeStamp - scannedAt < scanGap;
  scannedAt = event.timeStamp;
  if (event.key === 'Enter' && fast && scanned.length >= shortestScan) {
    event.preventDefault(); // whatever has the focus is not meant
    search(scanned);
  } else if (event.key === '/' && !(fast && scanned)) {
    event.preventDefault();
    field?.focus();
  } else if (event.key.length === 1) {
    scanned = (fast ? scanned : '') + event.key;
    return;
  }
  scanned = event.key === 'Shift' ? scanned : '';
}

document.addEventListener('keydown', keys);
document.addEventListener('click', async (event) => {
  const button = event.target.closest('button');
  if (button?.id === 'lock') {
    await post('/lock', {});
  } else if (button?.dataset.language) {
    const answer = await post('/language', { language: button.dataset.language });
    if (answer.ok) watch();
  } else if (button?.dataset.body) {
    button.disabled = true;
    await post(button.dataset.post, JSON.parse(button.dataset.body)).catch(() => {});
    button.disabled = false;
  } else if (button?.dataset.label) {
    const tokens = button.dataset.token.split('\n');
    button.disabled = true;
    for (let n = 1, going = true; going && n <= tokens.length; n++) { // one after another, as far as it goes
      const answer = await post(`/labels/${button.dataset.label}`, { token: tokens[n - 1] }).catch(() => ({}));
      const { done, says } = answer.ok ? await answer.json() : {};
      const said = byID(button.id)?.closest('article, section').querySelector('.said');
      if (said && says) said.textContent = tokens.length > 1 ? `${n} / ${tokens.length}: ${says}` : says;
      going = done;
    }
    button.disabled = false;
  }
});
for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, here, { passive: true });
addEventListener('hashchange', arrive);
addEventListener('storage', (event) => { if (event.key === tokenKey && event.newValue) watch(); });
setInterval(() => {
  clocks();
  if (document.body.dataset.state === 'live' && Date.now() - heard > staleAfter) byID('stale').hidden = false;
}, 500);
begin(post);
arrive();
