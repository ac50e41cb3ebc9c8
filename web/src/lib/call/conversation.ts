// The lines that are written in a call.

import { CHAT_CHARS_MAX, type ChatLine } from './protocol';
import type { ChatEntry } from './state';

export interface Written {
  chat: ChatEntry[];
  unread: number;
}

export class Conversation {
  /** Ids of own lines, by the number of the message that carries them. */
  #sent = new Map<number, string>();
  #open = false;

  /** What the server knows, and own lines that it does not have yet. */
  greeted(chat: ChatEntry[], lines: ChatLine[], self: string): ChatEntry[] {
    const own = chat.filter((entry) => entry.mine && entry.status !== 'sent' && !lines.some((line) => line.id === entry.id));
    return [...lines.map((line) => entryOf(line, self)), ...own];
  }

  arrived(now: Written, line: ChatLine, self: string): Written {
    const entry = entryOf(line, self);
    const chat = [...now.chat.filter((other) => other.id !== entry.id), entry];
    return { chat, unread: entry.mine || this.#open ? now.unread : now.unread + 1 };
  }

  /** A line of one's own, shown at once and marked when the server has it; undefined when there is nothing to send. */
  write(text: string, send: (line: { id: string; text: string }) => number): ChatEntry | undefined {
    const trimmed = text.trim();
    if (!trimmed || [...trimmed].length > CHAT_CHARS_MAX) return undefined;
    const id = crypto.randomUUID();
    this.#sent.set(send({ id, text: trimmed }), id);
    return { id, mine: true, display: '', text: trimmed, at: new Date().toISOString(), status: 'sending' };
  }

  /** The server would not take message `seq`; undefined when that was no line. */
  refused(chat: ChatEntry[], seq: number): ChatEntry[] | undefined {
    const id = this.#sent.get(seq);
    return id ? chat.map((entry) => (entry.id === id ? { ...entry, status: 'refused' as const } : entry)) : undefined;
  }

  /** It is in view (or no longer): nothing in it is unread. */
  view(open: boolean): void {
    this.#open = open;
  }
}

function entryOf(line: ChatLine, self: string): ChatEntry {
  const { id, display, text, at } = line;
  return { id, display, text, at, mine: line.from === self, status: 'sent' };
}
