// Files made or fetched by a screen, saved on this device.
import { ApiError, addressOf, type QueryValue } from '$lib/api/client';

/** How long the address of a download stays; the browser reads it after the click returned. */
const KEEP_MS = 60_000;

export function saveBlob(name: string, blob: Blob): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), KEEP_MS);
}

/** Line ends in a piece of a file. */
export function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte === 10) count += 1;
  return count;
}

/**
 * Fetches a file of unknown length and tells how many lines and bytes came. Throws [ApiError]; a reply that breaks off
 * counts as not reached, so that nobody takes half a file for the whole.
 */
export async function fetchFile(
  path: string,
  query: Record<string, QueryValue>,
  accept: string,
  progress: (lines: number, bytes: number) => void,
  signal: AbortSignal
): Promise<Blob> {
  let response: Response;
  try {
    response = await fetch(addressOf(path, query), {
      headers: { Accept: `${accept}, application/problem+json` },
      credentials: 'same-origin',
      signal
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, { code: 'offline' });
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new ApiError(response.status, body, response.headers.get('x-request-id') ?? undefined);
  }
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let lines = 0;
  let bytes = 0;
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      lines += countLines(value);
      bytes += value.length;
      progress(lines, bytes);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, { code: 'offline' });
  }
  return new Blob(parts, { type: response.headers.get('content-type') ?? accept });
}

/** Reads what may take the server longer than a usual request waits: a whole trail is gone through. */
export async function fetchPatiently<T>(path: string, query: Record<string, QueryValue>, signal: AbortSignal): Promise<T> {
  const file = await fetchFile(path, query, 'application/json', () => undefined, signal);
  return JSON.parse(await file.text()) as T;
}

/** `1.2 MB`; powers of 1,000 as disks are sold. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
