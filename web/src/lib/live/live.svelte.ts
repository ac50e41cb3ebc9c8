import type { Line, LineState, LiveClient, LiveEvent } from './client';

export type { LiveEvent } from './client';

class Live {
  state = $state<LineState>('off');
  /** Called when the server says that the session is no more. */
  ended: (() => void) | undefined;
  #listeners = new Set<(event: LiveEvent) => void>();
  #client: LiveClient | undefined;
  #wanted = false;

  /** Opens the line; its code comes after the page that asked for it. */
  async start(): Promise<void> {
    this.#wanted = true;
    if (!this.#client) {
      try {
        const { LiveClient } = await import('./client');
        this.#client ??= new LiveClient({
          open: () =>
            new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`) as unknown as Line,
          state: (state) => (this.state = state),
          ended: () => this.ended?.(),
          event: (event) => {
            for (const listener of this.#listeners) listener(event);
          }
        });
      } catch {
        // Offline before the first visit; `hurry` tries again when the network is back.
        this.state = 'waiting';
        return;
      }
    }
    if (this.#wanted) this.#client.start();
  }
  stop(): void {
    this.#wanted = false;
    this.#client?.stop();
  }
  hurry(): void {
    if (this.#client) this.#client.hurry();
    else if (this.#wanted) void this.start();
  }
  /** Hears every frame until the returned function is called. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The one live line of this tab. */
export const live = new Live();
