import { expect, test } from 'vitest';
import { amountCell, cell, csvText } from './csv';

test('cells are quoted where they must be and never run as formulas', () => {
  const cases: [string | number | null, string][] = [
    ['plain', 'plain'],
    ['Otieno, Grace', '"Otieno, Grace"'],
    ['she said "yes"', '"she said ""yes"""'],
    ['two\nlines', '"two\nlines"'],
    ['=1+1', "'=1+1"],
    ['+254712345678', "'+254712345678"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['-SUM(A1)', "'-SUM(A1)"],
    ['-1.20', '-1.20'],
    [-5, '-5'],
    [null, '']
  ];
  for (const [value, wanted] of cases) expect(cell(value), String(value)).toBe(wanted);
  expect(csvText([['a', 1], ['b', null]])).toBe('\uFEFFa,1\r\nb,\r\n');
});

test('amounts keep their minor units', () => {
  expect(amountCell(150_050, 2)).toBe('1500.50');
  expect(amountCell(5, 2)).toBe('0.05');
  expect(amountCell(-120, 2)).toBe('-1.20');
  expect(amountCell(1500, 0)).toBe('1500');
});
