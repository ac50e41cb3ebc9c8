import { icon } from './icon';

export default icon('M14.5 12.5l-5-5M9.5 12.5l5-5M4 3h16a2 2 0 0 1 2 2v10a2 2 0 0 1 -2 2h-16a2 2 0 0 1 -2 -2v-10a2 2 0 0 1 2 -2zM12 17v4M8 21h8');
