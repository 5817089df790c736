"use strict";
const gallery = document.getElementById("gallery");
const articles = [...gallery.children];
const by = {
  score: (a, b) => b.dataset.score - a.dataset.score,
  area: (a, b) => b.dataset.area - a.dataset.area,
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
};
document.getElementById("sort").addEventListener("change", (event) => {
  gallery.append(...articles.sort(by[event.target.value]));
});
document.getElementById("only").addEventListener("change", (event) => {
  for (const article of articles) article.hidden = event.target.checked && article.dataset.flagged === "0";
});
document.getElementById("heat").addEventListener("input", (event) => {
  document.documentElement.style.setProperty("--heat", event.target.value / 100);
});
gallery.addEventListener("click", (event) => {
  const figure = event.target.closest(".blink");
  if (!figure) return;
  figure.classList.toggle(event.target.tagName === "BUTTON" ? "play" : "flip");
});
