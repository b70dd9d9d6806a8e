/* The point nearest to the pointer tells what it is; without this script the browser shows the same
   words after a while. */
const told = document.createElement("div");
told.id = "told";
told.hidden = true;
document.body.append(told);
let near = null;
for (const tip of document.querySelectorAll(".tip")) {
  tip.dataset.told = tip.firstElementChild.textContent.replaceAll(" · ", "\n");
  tip.firstElementChild.remove();
  tip.setAttribute("aria-label", tip.dataset.told);
}
function point(event) {
  const figure = event.target.closest("figure");
  let found = null;
  let least = 24;
  for (const tip of figure ? figure.querySelectorAll(".tip") : []) {
    const box = tip.getBoundingClientRect();
    const across = Math.max(box.left - event.clientX, event.clientX - box.right, 0);
    const along = Math.max(box.top - event.clientY, event.clientY - box.bottom, 0);
    const size = Math.min(box.width, box.height) / 1000;
    const apart = Math.hypot(across, along) + size;
    if (apart < least) [found, least] = [tip, apart];
  }
  if (near !== found) {
    near?.classList.remove("near");
    found?.classList.add("near");
    near = found;
    told.hidden = !found;
    if (found) told.textContent = found.dataset.told;
  }
  if (!found) return;
  const width = document.documentElement.clientWidth;
  const left = Math.min(event.clientX + 14, width - told.offsetWidth - 8);
  const above = event.clientY + told.offsetHeight + 20 > innerHeight;
  told.style.left = `${Math.max(8, left)}px`;
  told.style.top = `${event.clientY + (above ? -told.offsetHeight - 12 : 16)}px`;
}
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.addEventListener("scroll", () => {
  near?.classList.remove("near");
  near = null;
  told.hidden = true;
}, { passive: true });
