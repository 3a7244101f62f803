// The filters of the page. Everything is readable without them.
"use strict";
(() => {
  const form = document.querySelector(".filters");
  const requirements = [...document.querySelectorAll(".requirement")];
  const groups = [...document.querySelectorAll(".group")];
  const shown = document.getElementById("shown");
  const nothing = document.getElementById("nothing");
  const fields = ["find", "level", "file", "verdict", "runtime", "differ"];

  const matches = (element, wanted) => {
    const verdicts = element.dataset.verdicts.split(" ");
    const of = wanted.runtime === "" ? verdicts : [verdicts[Number(wanted.runtime)]];
    return (wanted.level === "" || element.dataset.level === wanted.level)
      && (wanted.file === "" || element.dataset.file === wanted.file)
      && (wanted.verdict === "" || of.includes(wanted.verdict))
      && (!wanted.differ || new Set(verdicts).size > 1)
      && wanted.words.every((word) => element.dataset.text.includes(word));
  };

  const apply = () => {
    const wanted = {};
    for (const name of fields) {
      const field = form.elements[name];
      wanted[name] = field === undefined ? "" : field.type === "checkbox" ? field.checked : field.value;
    }
    wanted.words = wanted.find.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const element of requirements) {
      element.hidden = !matches(element, wanted);
      count += element.hidden ? 0 : 1;
    }
    for (const group of groups) {
      group.hidden = group.querySelector(".requirement:not([hidden])") === null;
    }
    shown.textContent = `${count} of ${requirements.length} requirements`;
    nothing.hidden = count > 0;
  };

  // A link to one requirement opens it, whatever the filters say.
  const open = () => {
    const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (element instanceof HTMLDetailsElement) {
      element.hidden = false;
      element.closest(".group").hidden = false;
      element.open = true;
      element.scrollIntoView();
    }
  };

  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", open);
  apply();
  open();
})();
