import { icon } from './icon';

export default icon('M2 5h20M6 12h12M9 19h6');
