import { cases } from './cases.ts';
import { startNode } from './runtimes.ts';

cases(startNode);
