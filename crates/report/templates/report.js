(() => {
  "use strict";
  const list = document.getElementById("photos");
  const controls = document.getElementById("controls");
  const photos = Array.from(list.children);
  if (photos.length < 2) return;
  controls.hidden = false;
  const field = (name) => controls.querySelector(`[name=${name}]`);
  const text = photos.map((photo) => photo.querySelector(".where-and-name").textContent.toLowerCase());

  const filter = () => {
    const wanted = field("text").value.trim().toLowerCase();
    const kind = field("kind").value;
    let shown = 0;
    photos.forEach((photo, i) => {
      const fits = (!wanted || text[i].includes(wanted))
        && (!kind || photo.dataset.class === kind || photo.dataset.flags.split(" ").includes(kind));
      photo.hidden = !fits;
      if (fits) shown += 1;
    });
    controls.querySelector("output").textContent = `${shown} of ${photos.length}`;
  };
  const sort = () => {
    const [key, direction] = field("order").value.split(" ");
    const sign = direction === "down" ? -1 : 1;
    const missing = (value) => value === undefined || value === "";
    const sorted = photos.slice().sort((a, b) => {
      const [x, y] = [a.dataset[key], b.dataset[key]];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      const order = key === "time" || key === "name" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return sign * order;
    });
    list.append(...sorted);
  };
  field("text").addEventListener("input", filter);
  field("kind").addEventListener("change", filter);
  field("order").addEventListener("change", sort);
  controls.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
