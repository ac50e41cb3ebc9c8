/** What to call this device until its owner names it, from what the browser says about itself. */
export function deviceName(agent: string): string {
  const first = (names: [string, string][]) => names.find(([mark]) => agent.includes(mark))?.[1];
  const system = first([
    ['iPhone', 'iPhone'],
    ['iPad', 'iPad'],
    ['Android', 'Android'],
    ['Windows', 'Windows'],
    ['CrOS', 'Chromebook'],
    ['Mac OS', 'Mac'],
    ['Linux', 'Linux']
  ]);
  // In this order: later ones also call themselves by the names of earlier ones.
  const browser = first([
    ['Edg', 'Edge'],
    ['OPR/', 'Opera'],
    ['SamsungBrowser', 'Samsung Internet'],
    ['Firefox', 'Firefox'],
    ['Chrome', 'Chrome'],
    ['Safari', 'Safari']
  ]);
  return [browser, system].filter(Boolean).join(', ');
}
