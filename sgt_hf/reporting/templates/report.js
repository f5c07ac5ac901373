"use strict";
(() => {
  const articles = [...document.querySelectorAll("article[data-tags]")];
  const filters = document.getElementById("filters");
  if (!filters) return;
  filters.hidden = false;
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const told = document.getElementById("word");

  const refresh = () => {
    const tag = filters.querySelector("input[name=filter]:checked")?.value;
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const article of articles) {
      const fits = (!tag || article.dataset.tags.split(" ").includes(tag)) &&
        (!wanted || article.textContent.toLowerCase().includes(wanted));
      article.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${articles.length} texts shown`;
  };
  filters.addEventListener("input", refresh);
  document.getElementById("scores").addEventListener("change", (event) => {
    document.body.classList.toggle("with-scores", event.target.checked);
  });

  // One stop of the Tab key for each text; within it the arrow keys go from word to word.
  let here = null;
  const leave = () => {
    if (here) here.classList.remove("here");
    here = null;
    told.textContent = "";
  };
  const go = (word, words, index) => {
    leave();
    here = word;
    word.classList.add("here");
    const human = word.classList.contains("r") ? ", marked by humans" : "";
    told.textContent = `word ${index + 1} of ${words.length}: ${word.textContent}, score ${word.dataset.score}${human}`;
    word.scrollIntoView({ block: "nearest" });
  };
  for (const text of document.querySelectorAll(".words")) {
    text.addEventListener("keydown", (event) => {
      const words = [...text.querySelectorAll(".w")];
      const at = words.indexOf(here);
      const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? 0 : at - 1, Home: 0, End: words.length - 1 }[event.key];
      if (event.key === "Escape") leave();
      if (to === undefined || !words.length) return;
      event.preventDefault();
      const index = Math.min(Math.max(to, 0), words.length - 1);
      go(words[index], words, index);
    });
    text.addEventListener("click", (event) => {
      const word = event.target.closest(".w");
      if (!word) return;
      const words = [...text.querySelectorAll(".w")];
      go(word, words, words.indexOf(word));
    });
    text.addEventListener("blur", leave);
  }
  refresh(); // a browser may bring back the filters of an earlier visit
})();
