// Messages are plain text with `{name}` and `{count, plural, one {…} other {…}}`; `#` is the count.

export type Parameters = Record<string, string | number>;
type Part = string | { name: string } | { name: string; forms: Record<string, Part[]> } | '#';
const COUNT = '#' as const;

const parsed = new Map<string, Part[]>();
const rules = new Map<string, Intl.PluralRules>();

/** Fills a message in. A parameter that is not given stays visible as `{name}`. */
export function fill(text: string, locale: string, parameters: Parameters = {}): string {
  if (!text.includes('{')) return text;
  let parts = parsed.get(text);
  if (!parts) {
    parts = parse(text);
    parsed.set(text, parts);
  }
  return render(parts, locale, parameters, undefined);
}

/** Names of the parameters a message uses, sorted. */
export function parametersOf(text: string): string[] {
  const names = new Set<string>();
  const walk = (parts: Part[]) => {
    for (const part of parts) {
      if (typeof part === 'string') continue;
      names.add(part.name);
      if ('forms' in part) Object.values(part.forms).forEach(walk);
    }
  };
  walk(parse(text));
  return [...names].sort();
}

function render(parts: Part[], locale: string, parameters: Parameters, count: number | undefined): string {
  let out = '';
  for (const part of parts) {
    if (part === COUNT && count !== undefined) out += count.toLocaleString(locale);
    else if (typeof part === 'string') out += part;
    else if ('forms' in part) {
      const value = Number(parameters[part.name] ?? 0);
      let rule = rules.get(locale);
      if (!rule) rules.set(locale, (rule = new Intl.PluralRules(locale)));
      const form = part.forms[`=${value}`] ?? part.forms[rule.select(value)] ?? part.forms.other ?? [];
      out += render(form, locale, parameters, value);
    } else {
      const value = parameters[part.name];
      out += value === undefined ? `{${part.name}}` : typeof value === 'number' ? value.toLocaleString(locale) : value;
    }
  }
  return out;
}

function parse(text: string): Part[] {
  let at = 0;
  const sequence = (inPlural: boolean): Part[] => {
    const parts: Part[] = [];
    let plain = '';
    const flush = () => {
      if (plain) parts.push(plain);
      plain = '';
    };
    while (at < text.length) {
      const letter = text[at]!;
      if (letter === '}' && inPlural) break;
      if (letter === '#' && inPlural) {
        flush();
        parts.push(COUNT);
        at += 1;
      } else if (letter === '{') {
        flush();
        parts.push(argument());
      } else {
        plain += letter;
        at += 1;
      }
    }
    flush();
    return parts;
  };
  const argument = (): Part => {
    const head = /^\{\s*(\w+)\s*(,\s*plural\s*,)?\s*/.exec(text.slice(at));
    if (!head) throw new Error(`message not understood at ${at}: ${text}`);
    at += head[0].length;
    const name = head[1]!;
    if (!head[2]) {
      if (text[at] !== '}') throw new Error(`message not closed: ${text}`);
      at += 1;
      return { name };
    }
    const forms: Record<string, Part[]> = {};
    for (;;) {
      const form = /^\s*(=\d+|\w+)\s*\{/.exec(text.slice(at));
      if (!form) break;
      at += form[0].length;
      forms[form[1]!] = sequence(true);
      if (text[at] !== '}') throw new Error(`plural not closed: ${text}`);
      at += 1;
    }
    const end = /^\s*\}/.exec(text.slice(at));
    if (!end || !forms.other) throw new Error(`plural needs "other": ${text}`);
    at += end[0].length;
    return { name, forms };
  };
  return sequence(false);
}
