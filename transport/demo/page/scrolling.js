// @ts-check
/** The page scrolls with a growing answer while the reader is at its end, and never while the reader has scrolled up. */

const NEAR_THE_END = 120; // px from the end of the page up to which the reader counts as being there
const GAP = 16; // px between the end of the answer and the composer

export class Scrolling {
  #turns;
  #bar;
  #footer;
  #latest;
  #following = true;
  #top = 0;

  /**
   * @param {{ turns: HTMLElement, bar: HTMLElement, footer: HTMLElement, latest: HTMLButtonElement }} parts
   *   `bar` and `footer` cover the beginning and the end of the window; `latest` is the button to go to the end
   */
  constructor({ turns, bar, footer, latest }) {
    this.#turns = turns;
    this.#bar = bar;
    this.#footer = footer;
    this.#latest = latest;
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    window.addEventListener("resize", () => this.update(), { passive: true });
    latest.addEventListener("click", () => this.follow());
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#following = true;
    this.update();
  }

  /** Keep the end of the newest answer in sight, and its question too if there is room for both. */
  update() {
    const newest = this.#turns.lastElementChild;
    if (newest && this.#following) {
      const room = this.#footer.getBoundingClientRect().top - GAP;
      const reply = newest.querySelector(".reply") ?? newest;
      const question = newest.getBoundingClientRect().top - this.#bar.offsetHeight;
      const top = Math.max(question, reply.getBoundingClientRect().bottom - room);
      if (Math.abs(top) >= 1) window.scrollBy({ top, behavior: "instant" });
    }
    this.#latest.hidden = this.#following || !newest;
  }

  #scrolled() {
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - NEAR_THE_END;
    this.#following = atEnd || (this.#following && window.scrollY >= this.#top);
    this.#top = window.scrollY;
    this.#latest.hidden = this.#following || !this.#turns.lastElementChild;
  }
}
