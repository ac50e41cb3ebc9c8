import type { Role } from '$lib/api/types';

/** Roles an administrator gives; patients register themselves and programs get theirs at the command line. */
export const STAFF: Role[] = ['doctor', 'nurse', 'front-desk', 'cashier', 'lab', 'pharmacist', 'administrator', 'privacy-officer', 'it'];
/** These need a practitioner entry, because they act in a patient's record. */
export const CLINICAL: Role[] = ['doctor', 'nurse'];
