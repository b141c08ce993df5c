// Figures: one view at a time, and the words of the circle that is pointed at.
for (const article of document.querySelectorAll("article.figure")) {
  const views = [...article.querySelectorAll(".figure-view")];
  const readout = article.querySelector(".figure-readout");
  const show = (name) => views.forEach((view) => (view.hidden = view.dataset.view !== name));
  for (const choice of article.querySelectorAll(".figure-choice input")) {
    choice.addEventListener("change", () => show(choice.value));
    if (choice.checked) show(choice.value);
  }
  for (const bubble of article.querySelectorAll(".bubble")) {
    const say = () => (readout.textContent = bubble.getAttribute("aria-label"));
    bubble.addEventListener("mouseenter", say);
    bubble.addEventListener("focus", say);
  }
}
