// SPDX-License-Identifier: MIT
// What the demo page has computed, for browser.mjs: undefined while it is at work.
(() => {
  const demo = window.undertowDemo;
  if (!demo || demo.error) return demo;
  const coded = (array) => {
    let text = '';
    for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) text += String.fromCharCode(byte);
    return btoa(text);
  };
  const joined = (arrays) => Float32Array.from(arrays.flatMap((x) => [...x]));
  return {
    isa: demo.isa,
    segments: demo.segments,
    probabilities: coded(demo.probabilities),
    inputs: coded(joined(demo.inputs)),
    cleaned: demo.cleaned ? coded(joined(demo.cleaned)) : null,
    said: document.getElementById('said').textContent,
    unnamed: [...document.querySelectorAll('button, input, canvas')].filter((x) => !x.textContent && !x.labels?.length && !x.getAttribute('aria-labelledby')).length,
  };
})();
