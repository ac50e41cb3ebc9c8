import type { RxItem } from '$lib/api/types';
import { i18n, t, tOr } from '$lib/i18n/index.svelte';

/** No trailing zeros, a zero before the point: `.50` → `0.5`, `5.0` → `5`. */
export function tidyDecimal(text: string): string {
  const match = /^(-?)(\d*)\.?(\d*)$/.exec(text.trim());
  if (!match || (!match[2] && !match[3])) return text;
  const whole = match[2]!.replace(/^0+(?=\d)/, '') || '0';
  const rest = match[3]!.replace(/0+$/, '');
  return `${match[1]}${whole}${rest ? `.${rest}` : ''}`;
}
/** Tidies every number inside a dose (`.50 mg` → `0.5 mg`) and writes out unsafe unit abbreviations (ISMP). */
export function safeDose(dose: string): string {
  return dose
    .replace(/\d*\.\d+|\d+\.(?=\D|$)|\d+/g, (number) => tidyDecimal(number))
    .replace(/(\d)(?=[A-Za-zµμ])/g, '$1 ')
    .replace(/\b(µg|μg|ug|mcg)\b|(?<=\s)[µμ]g\b/g, 'micrograms')
    .replace(/\b(IU|U|u)\b(?!\w)/g, 'units')
    .replace(/\bcc\b/g, 'mL')
    .replace(/\bml\b/g, 'mL')
    .replace(/\s+/g, ' ')
    .trim();
}

// Tall Man letters for names that have been mistaken for each other (ISMP list; the part that the
// formulary holds).
const TALL_MAN: Record<string, string> = {
  amlodipine: 'amLODIPine',
  amiodarone: 'aMIOdarone',
  azathioprine: 'azaTHIOprine',
  carbamazepine: 'carBAMazepine',
  ceftriaxone: 'cefTRIAXone',
  cefotaxime: 'cefOTAXime',
  ceftazidime: 'cefTAZidime',
  chlorpromazine: 'chlorproMAZINE',
  chlorpropamide: 'chlorproPAMIDE',
  clonazepam: 'clonazePAM',
  clonidine: 'cloNIDine',
  diazepam: 'diazePAM',
  diphenhydramine: 'diphenhydrAMINE',
  dopamine: 'DOPamine',
  dobutamine: 'DOBUTamine',
  ephedrine: 'ePHEDrine',
  epinephrine: 'EPINEPHrine',
  fluoxetine: 'FLUoxetine',
  glipizide: 'glipiZIDE',
  glyburide: 'glyBURIDE',
  hydralazine: 'hydrALAZINE',
  hydroxyzine: 'hydrOXYzine',
  hydrochlorothiazide: 'hydroCHLOROthiazide',
  lamivudine: 'lamiVUDine',
  lamotrigine: 'lamoTRIgine',
  levetiracetam: 'levETIRAcetam',
  metformin: 'metFORMIN',
  metronidazole: 'metroNIDAZOLE',
  morphine: 'morphine',
  nifedipine: 'NIFEdipine',
  nimodipine: 'niMODipine',
  prednisolone: 'prednisoLONE',
  prednisone: 'predniSONE',
  quinidine: 'quiNIDine',
  quinine: 'quiNINE',
  risperidone: 'risperiDONE',
  sulfadiazine: 'sulfADIAZINE',
  tramadol: 'traMADol',
  vinblastine: 'vinBLAStine',
  vincristine: 'vinCRIStine',
  zidovudine: 'ziDOVudine'
};
export function tallMan(name: string): string {
  return name.replace(/[A-Za-z]+/g, (word) => TALL_MAN[word.toLowerCase()] ?? word);
}

export function frequencyText(item: Pick<RxItem, 'frequency_code' | 'frequency_text'>): string {
  return tOr(`frequency.${item.frequency_code}`, item.frequency_text ?? item.frequency_code);
}
export function routeText(route: string): string {
  return tOr(`route.${route.toLowerCase().replace(/\s+/g, '-')}`, route);
}
export interface MedicineLine {
  name: string;
  rest: string;
}
/** **name** form – DOSE – route – frequency – duration, in words a patient can read. */
export function medicineLine(item: RxItem): MedicineLine {
  const parts = [
    item.form,
    item.dose ? `${t('rx.dose').toLocaleUpperCase(i18n.locale)} ${safeDose(item.dose)}` : '',
    routeText(item.route),
    frequencyText(item),
    item.frequency_code === 'STAT' || !item.duration_days ? '' : t('rx.for_days', { count: item.duration_days })
  ].filter(Boolean);
  return { name: tallMan(item.name), rest: parts.join(' – ') };
}
