export interface ToastMessage {
  id: number;
  text: string;
  tone: 'plain' | 'good' | 'bad';
  action?: { label: string; run: () => void };
}

/** How long a message stays; longer when it offers an action. */
const STAY_MS = 5_000;
const STAY_ACTION_MS = 9_000;
const MOST = 3;

class Toasts {
  items = $state.raw<ToastMessage[]>([]);
  /** True from the first message on: what draws them is loaded then. */
  used = $state(false);
  #next = 1;

  show(text: string, options: Partial<Pick<ToastMessage, 'tone' | 'action'>> = {}): void {
    const id = this.#next++;
    this.used = true;
    this.items = [...this.items, { id, text, tone: options.tone ?? 'plain', action: options.action }].slice(-MOST);
    setTimeout(() => this.close(id), options.action ? STAY_ACTION_MS : STAY_MS);
  }
  close(id: number): void {
    this.items = this.items.filter((item) => item.id !== id);
  }
}

export const toasts = new Toasts();
