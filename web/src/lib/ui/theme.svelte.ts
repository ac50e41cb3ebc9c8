export type Theme = 'system' | 'light' | 'dark';
const STORAGE = 'uzima.theme';

class ThemeState {
  value = $state<Theme>('system');

  start(): void {
    const stored = document.documentElement.dataset.theme;
    if (stored === 'light' || stored === 'dark') this.value = stored;
  }
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
