/** One cell as RFC 4180 asks; text that a spreadsheet would run as a formula is made plain text. */
export function cell(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const harmless = /^-?\d+(\.\d+)?$/.test(value) || !/^[=+\-@\t\r]/.test(value);
  const safe = harmless ? value : `'${value}`;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Rows as the text of a CSV file, with the mark by which spreadsheets know UTF-8. */
export function csvText(rows: (string | number | null | undefined)[][]): string {
  return '\uFEFF' + rows.map((row) => row.map(cell).join(',') + '\r\n').join('');
}

/** Saves rows as a file on this device. */
export function saveCsv(name: string, rows: (string | number | null | undefined)[][]): void {
  const address = URL.createObjectURL(new Blob([csvText(rows)], { type: 'text/csv;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = `${name}.csv`;
  link.click();
  // The download reads the blob after the click returned.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** An amount in major units without separators, for sums in a spreadsheet: `1500.50`. */
export function amountCell(minor: number, decimals: number): string {
  const sign = minor < 0 ? '-' : '';
  const digits = String(Math.abs(minor)).padStart(decimals + 1, '0');
  return decimals === 0 ? sign + digits : `${sign}${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}
