(() => {
  const faults = [];
  let seen = 0;
  const where = (e) => `${e.tagName.toLowerCase()}${e.id ? '#' + e.id : ''}.${e.className}`;
  const visible = (e) => {
    const s = getComputedStyle(e), box = e.getBoundingClientRect();
    return s.visibility !== 'hidden' && s.display !== 'none' && box.width > 0 && box.height > 0;
  };
  // WCAG 2.2, relative luminance and contrast ratio.
  const rgb = (text) => {
    const m = /^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/.exec(text);
    return m ? { c: [m[1], m[2], m[3]].map(Number), a: m[4] === undefined ? 1 : Number(m[4]) } : null;
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const b = rgb(getComputedStyle(e).backgroundColor);
      if (!b || b.a > 0 && b.a < 1) return null;
      if (b.a === 1) return b.c;
    }
    return [255, 255, 255];
  };
  for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !visible(e) || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'PROGRESS'].includes(e.tagName)) continue;
    seen++;
    const s = getComputedStyle(e), front = rgb(s.color), back = background(e);
    if (!front || front.a < 1 || !back) { faults.push(`${where(e)}: colours that cannot be compared`); continue; }
    const [a, b] = [light(front.c), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(s.fontSize);
    const least = size >= 24 || size >= 18.66 && Number(s.fontWeight) >= 700 ? 3 : 4.5;
    if (ratio < least) faults.push(`${where(e)}: contrast ${ratio.toFixed(2)}, ${least} is needed: ${walk.currentNode.data.trim().slice(0, 30)}`);
    if (size < 14) faults.push(`${where(e)}: text of ${size} px`);
  }
  const named = (e) => {
    const by = e.getAttribute('aria-labelledby');
    return (e.getAttribute('aria-label') || by && document.getElementById(by)?.textContent || e.textContent || '').trim();
  };
  for (const e of document.querySelectorAll('a, button, summary, nav, article, section:not([hidden]), progress, [role=group]')) {
    if (visible(e) && !named(e)) faults.push(`${where(e)}: no name`);
  }
  for (const e of document.querySelectorAll('a, button, summary')) {
    if (visible(e) && e.tabIndex < 0) faults.push(`${where(e)}: the keyboard does not reach it`);
  }
  for (const e of document.querySelectorAll('[aria-labelledby]')) {
    if (!document.getElementById(e.getAttribute('aria-labelledby'))) faults.push(`${where(e)}: its name is not there`);
  }
  for (const e of document.querySelectorAll('table')) {
    if (!e.caption || !e.querySelector('th[scope]')) faults.push(`${where(e)}: no caption or headings`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id ${id} is there twice`);
  if (!document.documentElement.lang) faults.push('the page has no language');
  if (!document.title) faults.push('the page has no title');
  return { faults, seen };
})()
