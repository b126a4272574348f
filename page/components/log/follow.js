// Follow mode: the newest row stays visible. It stops when the reader scrolls up, and stays stopped until the reader presses the button or scrolls to the
// end: changes of the log itself, such as a folded group, never switch it.

/** Time in which a change of the position counts as the reader's, after a key, wheel or touch. */
const READER_MS = 800;

/** Distance from the end that counts as the end. */
const NEAR = 4;

export class Follow {
  #isOn = false;
  #readerAt = 0;
  #isPressed = false;
  #last = 0;

  /** @param {HTMLElement} scroller @param {(isOn: boolean) => void} changed */
  constructor(scroller, changed) {
    this.scroller = scroller;
    this.changed = changed;
    const reader = () => { this.#readerAt = performance.now(); };
    scroller.addEventListener("wheel", (event) => {
      reader();
      if (event.deltaY < 0 && scroller.scrollTop > 0) this.set(false);
    }, { passive: true });
    scroller.addEventListener("touchmove", reader, { passive: true });
    scroller.addEventListener("keydown", reader);
    scroller.addEventListener("pointerdown", () => { this.#isPressed = true; });
    addEventListener("pointerup", () => { this.#isPressed = false; });
    addEventListener("pointercancel", () => { this.#isPressed = false; });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.toEnd()).observe(scroller);
  }

  get isOn() {
    return this.#isOn;
  }

  /** @param {boolean} isOn */
  set(isOn) {
    // A scroll that is still moving, as after Page Up, must not undo a press of the button.
    if (isOn) this.#readerAt = -READER_MS;
    if (this.#isOn !== isOn) {
      this.#isOn = isOn;
      this.changed(isOn);
    }
    this.toEnd();
  }

  /** Shows the end, while following. Not during a press: the reader may be selecting. */
  toEnd() {
    if (!this.#isOn || this.#isPressed) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#last = this.scroller.scrollTop;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const isReader = this.#isPressed || performance.now() - this.#readerAt < READER_MS;
    const [isUp, isDown] = [scrollTop < this.#last - 1, scrollTop > this.#last];
    this.#last = scrollTop;
    if (!isReader) {
      if (this.#isOn && scrollTop + clientHeight < scrollHeight - NEAR) this.toEnd();
      return;
    }
    if (isUp) this.set(false);
    else if (isDown && scrollTop + clientHeight >= scrollHeight - NEAR) this.set(true);
  }
}
