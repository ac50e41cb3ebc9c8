/** How long ago, in the largest unit that has at least one. */
export function ageOf(at: string, now: Date): { unit: 'now' | 'minutes' | 'hours' | 'days'; count: number } {
  const minutes = Math.max(0, Math.floor((now.getTime() - new Date(at).getTime()) / 60_000));
  if (minutes < 1) return { unit: 'now', count: 0 };
  if (minutes < 60) return { unit: 'minutes', count: minutes };
  if (minutes < 48 * 60) return { unit: 'hours', count: Math.floor(minutes / 60) };
  return { unit: 'days', count: Math.floor(minutes / 1440) };
}
/** 0 to 100, or undefined while it is not known how much there is. */
export function percentOf(done: number, total: number): number | undefined {
  return total > 0 ? Math.min(100, Math.floor((done / total) * 100)) : undefined;
}
/** Least and most of each part of the policy, as the server takes them. */
export const POLICY = {
  base_hours: [1, 168],
  drill_hours: [1, 744],
  drill_alarm_days: [1, 60],
  keep_instant_days: [1, 365],
  keep_daily_days: [7, 3650],
  keep_weekly_weeks: [4, 1040]
} as const;
export type PolicyName = keyof typeof POLICY;
export const POLICY_NAMES = Object.keys(POLICY) as PolicyName[];
