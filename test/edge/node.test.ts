import { declare } from './cases.ts';

declare('node');
