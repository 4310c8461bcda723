"use strict";
// A chart is a still picture until somebody points at it; then Vega is unpacked, once, and draws the same chart anew,
// so that marks can be read and the axes zoomed. Until then the page costs no more than its pictures.
(() => {
  const narrow = matchMedia("(max-width: 700px)");
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  let unpacked;
  const vega = () =>
    (unpacked ??= (async () => {
      const [program, specifications] = await Promise.all([unpack("vega"), unpack("specifications")]);
      (0, eval)(program);
      return JSON.parse(specifications);
    })());

  // Charts side by side share what is lacking.
  const shrink = (part, lack) => {
    const lines = part.vconcat ?? [];
    for (const line of lines) shrink(line, lack);
    const columns = part.hconcat ?? [];
    for (const column of columns) shrink(column, lack / columns.length);
    if (part.width) part.width = Math.max(60, part.width - lack);
  };

  const enliven = async (figure) => {
    const form = narrow.matches ? "narrow" : "wide";
    if (figure.dataset.form === form) return;
    figure.dataset.form = form;
    const [still, live] = [figure.querySelector(".still"), figure.querySelector(".live")];
    const own = figure.querySelector(`.${form} svg`).viewBox.baseVal.width;
    const specifications = await vega();
    const specification = structuredClone(specifications[figure.dataset.picture][form]);
    shrink(specification, Math.max(0, own - figure.clientWidth));
    live.hidden = false;
    live.style.position = "absolute";  // drawn out of sight, and then put in the place of the still one
    live.style.visibility = "hidden";
    await vegaEmbed(live, specification, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
    still.hidden = true;
    live.removeAttribute("style");
    figure.dataset.alive = "";
  };

  const begin = (event) => {
    const figure = event.target.closest?.("figure.chart");
    if (figure) enliven(figure).catch((error) => console.error(error));
  };
  document.addEventListener("pointerover", begin, { passive: true });
  narrow.addEventListener("change", () => {
    for (const figure of document.querySelectorAll("figure[data-alive]")) enliven(figure);
  });
  document.querySelector(".hint").hidden = false;
})();
