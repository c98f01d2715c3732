"use strict";
// The scheme that the reader chose, before anything is shown. A file may have no storage; then that of the system is used.
const chosen = {
  key: "report-scheme",
  get: () => { try { return localStorage.getItem(chosen.key); } catch { return null; } },
  set: scheme => { try { localStorage.setItem(chosen.key, scheme); } catch { /* It lasts as long as the page. */ } },
};
if (["light", "dark"].includes(chosen.get())) document.documentElement.dataset.scheme = chosen.get();
