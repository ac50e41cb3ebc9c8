import { goto } from '$app/navigation';
import { page } from '$app/state';

/** Puts filters into the address, so that Back, a reload and a bookmark keep them. Empty values are taken out. */
export function setFilters(values: Record<string, string | undefined>): void {
  const address = new URL(page.url);
  for (const [name, value] of Object.entries(values)) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  if (address.search === page.url.search) return;
  void goto(address.pathname + address.search, { replaceState: true, keepFocus: true, noScroll: true });
}
