import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '$lib/api/client';
import { Autosave } from './autosave.svelte';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('autosave', () => {
  it('saves the newest content once the writer pauses', async () => {
    const save = vi.fn(async (_content: string) => undefined);
    const saver = new Autosave<string>(save);
    saver.change('a');
    saver.change('ab');
    await vi.advanceTimersByTimeAsync(999);
    expect(save).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(save.mock.calls).toEqual([['ab']]);
    expect(saver.state).toBe('saved');
  });
  it('sends one save at a time and what came meanwhile after it', async () => {
    let release = () => {};
    const save = vi.fn((_content: string) => new Promise<void>((resolve) => (release = resolve)));
    const saver = new Autosave<string>(save);
    saver.change('a');
    await vi.advanceTimersByTimeAsync(1000);
    saver.change('ab');
    await vi.advanceTimersByTimeAsync(1000);
    expect(save).toHaveBeenCalledTimes(1);
    release();
    await vi.advanceTimersByTimeAsync(0);
    expect(save.mock.calls).toEqual([['a'], ['ab']]);
    release();
    await vi.advanceTimersByTimeAsync(0);
    expect(saver.state).toBe('saved');
  });
  it('keeps trying without a connection, with the same content', async () => {
    const save = vi.fn(async (_content: string) => undefined).mockRejectedValueOnce(new ApiError(0));
    const saver = new Autosave<string>(save);
    saver.change('a');
    await vi.advanceTimersByTimeAsync(1000);
    expect(saver.state).toBe('failed');
    expect(saver.pending).toBe(true);
    await vi.advanceTimersByTimeAsync(5000);
    expect(save.mock.calls).toEqual([['a'], ['a']]);
    expect(saver.state).toBe('saved');
  });
  it('stops at a conflict until the writer decides', async () => {
    const save = vi.fn(async (_content: string) => undefined).mockRejectedValueOnce(new ApiError(412, { code: 'version-conflict' }));
    const saver = new Autosave<string>(save);
    saver.change('mine');
    await vi.advanceTimersByTimeAsync(1000);
    saver.change('mine, longer');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(save).toHaveBeenCalledTimes(1);
    expect(saver.state).toBe('conflict');
    expect(await saver.keep('mine, longer')).toBe(true);
    expect(save.mock.calls[1]).toEqual(['mine, longer']);
  });
  it('does not repeat what the server refuses', async () => {
    const save = vi.fn(async (_content: string) => undefined).mockRejectedValueOnce(new ApiError(422, { code: 'value-implausible' }));
    const saver = new Autosave<string>(save);
    saver.change('9999');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(save).toHaveBeenCalledTimes(1);
    expect(await saver.flush()).toBe(true);
  });
});
