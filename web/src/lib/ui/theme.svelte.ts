export type Theme = 'system' | 'light' | 'dark';
const STORAGE = 'uzima.theme';

class ThemeState {
  /** The shell has set it before the first paint. */
  value = $state<Theme>((document.documentElement.dataset.theme as Theme | undefined) ?? 'system');

  use(theme: Theme): void {
    this.value = theme;
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === 'system') localStorage.removeItem(STORAGE);
      else localStorage.setItem(STORAGE, theme);
    } catch {
      // Without storage the choice lasts until the tab closes.
    }
  }
}

export const theme = new ThemeState();
