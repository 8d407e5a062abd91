// Acts, and the scanner, which types like a keyboard into whatever has the focus: what it
// reads goes to the daemon as a whole code or not at all.

const scanGap = 60; // ms between two keys of a scanner, on average; nobody types so
const fieldGap = 250; // ms after which what is typed in a field is something new
const bareGap = 1000; // ms, outside of fields, where nobody has anything to type
const least = 3; // characters of a code
const echo = 300; // ms after a code in which another Enter is the scanner's

const byID = (id) => document.getElementById(id);
const place = () => document.querySelector('.scanner');
const label = () => document.querySelector('header[data-label]'); // one waits to be scanned
const hints = ['scan-illegible', 'scan-unfinished', 'scan-silent', 'act-failed'];

let shown = ''; // which of the hints
let run = null; // what is being typed
let keyAt = 0; // when the last key was pressed
let press = 0; // ends the wait of a blank that is to press a button
let deaf = 0; // until when Enter is the scanner's
let heard = 0; // when something was scanned, or the screen came
let sounded = ''; // the stop that was sounded
let audio = null;
const taken = new Set(); // keys that are the scanner's
let queue = Promise.resolve();
let send = null;

function hint(name) {
  shown = name;
  for (const id of hints) if (byID(id)) byID(id).hidden = id !== name;
}

// tone is short, and heard over a hall.
function tone() {
  audio ??= new AudioContext();
  audio.resume();
  [880, 587, 880].forEach((hertz, i) => {
    const oscillator = audio.createOscillator();
    const gain = audio.createGain();
    oscillator.type = 'square';
    oscillator.frequency.value = hertz;
    gain.gain.value = 0.2;
    oscillator.connect(gain).connect(audio.destination);
    oscillator.start(audio.currentTime + i * 0.18);
    oscillator.stop(audio.currentTime + i * 0.18 + 0.15);
  });
}

// act sends one after another, in the order in which they were done.
function act(path, name, code) {
  hint('');
  queue = queue.then(async () => {
    try {
      const answer = await send(path, { act: name, code });
      if (!answer.ok && ![401, 409].includes(answer.status)) hint('act-failed');
    } catch {
      hint('act-failed');
    }
  });
  return queue;
}

// fits reports whether a text as a whole is like a code.
const fits = (text) => (place()?.dataset.shapes ?? label().dataset.label).split('\n').some((s) => s && new RegExp(s).test(text));

// answer says what became of the label that was scanned.
function answer(text, good) {
  const said = byID('label-said');
  said.className = good ? 'said good' : 'stop';
  said.querySelector('.sign').textContent = good ? '✔' : '✖';
  said.querySelector('.what').textContent = text;
  said.hidden = false;
  if (!good) tone();
}

// stuck has the label that was scanned taken as the one that waits.
function stuck(token, clean) {
  const { illegible, failed } = label().dataset;
  if (!clean || !fits(token)) return answer(illegible, false);
  queue = queue.then(async () => {
    try {
      const taken = await send('/labels/confirm', { token });
      if (!taken.ok) return answer(failed, false);
      const { says, done } = await taken.json();
      return answer(says, done);
    } catch {
      return answer(failed, false);
    }
  });
  return queue;
}

function code(text, clean) {
  heard = performance.now();
  if (!place()) return label() && stuck(text, clean);
  if (clean && fits(text)) return act('/packing', 'scan', text);
  hint('scan-illegible');
  return tone();
}

const quick = (r) => r.keys > least && (r.last - r.began) / (r.keys - 1) <= scanGap;

function typed(event) {
  if (!(place() ? byID('code') : label()) || event.repeat) return;
  const field = event.target.closest?.('input, textarea, select') ?? null;
  const at = event.timeStamp;
  if (run && (run.field !== field || at - run.last > (field ? fieldGap : bareGap))) run = null;
  if (event.key === 'Enter') return entered(event, field, at);
  if (['Shift', 'CapsLock', 'AltGraph'].includes(event.key)) return undefined;
  const one = [...event.key].length === 1;
  const plain = /^[ -~]$/.test(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey;
  const going = run !== null;
  if (!going && (one || event.key === 'Process')) {
    run = { field, before: field?.value, text: '', keys: 0, clean: true, began: at, last: at };
  }
  if (!run) return undefined;
  run.last = at;
  run.keys++;
  if (plain) run.text += event.key;
  else run.clean = false; // a control character, an input method, a key in between
  // Nothing is done by letters then: neither find as you type nor a blank's click. Where no
  // parcels are packed, a slash leads to the search.
  if (!field && one && (going || plain && event.key !== ' ' && (place() || event.key !== '/'))) event.preventDefault();
  return undefined;
}

function entered(event, field, at) {
  const r = run;
  run = null;
  const scan = r && r.keys >= least && (!field || quick(r));
  if (!scan && at >= deaf) return undefined; // a person's
  event.preventDefault();
  event.stopImmediatePropagation();
  deaf = at + echo;
  if (!scan) return undefined;
  if (field) field.value = r.before;
  return code(r.text, r.clean);
}

// blank lets a blank press a button once no key has followed it as fast as a scanner's do.
function blank(event) {
  clearTimeout(press);
  const alone = event.timeStamp - keyAt > scanGap;
  keyAt = event.timeStamp;
  const button = event.key === ' ' && event.target.closest?.('button, summary');
  if (!button || event.defaultPrevented) return;
  event.preventDefault();
  if (alone && !event.repeat) press = setTimeout(() => button.click(), scanGap);
}

// look is called when the page has changed.
function look() {
  hint(shown);
  const stop = document.querySelector('[data-tone]');
  const now = stop ? stop.dataset.tone + stop.textContent : '';
  if (stop && now !== sounded) {
    tone();
    byID('acknowledge')?.focus();
  }
  sounded = now;
}

function listen() {
  const now = performance.now();
  if (!place()) {
    heard = 0;
    shown = '';
    return;
  }
  heard ||= now;
  if (run && !run.field && now - run.last > bareGap) {
    if (quick(run)) hint('scan-unfinished');
    run = null;
  }
  const { open, silent } = place().dataset;
  if (open === 'true' && !shown && now - heard > Number(silent) && document.visibilityState === 'visible') hint('scan-silent');
}

// begin takes how changes are sent.
export function begin(post) {
  send = post;
  addEventListener('keydown', (event) => {
    typed(event);
    blank(event);
    if (event.defaultPrevented) taken.add(event.key);
    else taken.delete(event.key);
  }, { capture: true });
  // A button is pressed by what follows a key that is down, whoever has taken the key.
  addEventListener('keydown', (event) => { if (event.defaultPrevented) taken.add(event.key); });
  for (const kind of ['keypress', 'keyup']) {
    addEventListener(kind, (event) => { if (taken.has(event.key)) event.preventDefault(); }, { capture: true });
  }
  document.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!event.target.closest('.scanner')) return;
    const input = byID('code');
    const text = input.value;
    input.value = '';
    code(text, true);
  });
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button[data-act]');
    if (!button) return;
    button.disabled = true;
    heard = performance.now();
    await act(button.dataset.post, button.dataset.act, button.dataset.code);
    button.disabled = false;
  });
  addEventListener('hashchange', () => { byID('label-said').hidden = true; });
  new MutationObserver(look).observe(byID('main'), { childList: true, subtree: true });
  setInterval(listen, 250);
}
