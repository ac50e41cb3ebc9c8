/** How a new colleague gets in. */
export type Way = 'email' | 'sms' | 'shown' | 'password';

/** The ways there are for what is known of her, best first. */
export function waysOf(email: string, phone: string): Way[] {
  return [...(email.trim() ? (['email'] as const) : []), ...(phone.trim() ? (['sms'] as const) : []), 'shown', 'password'];
}
