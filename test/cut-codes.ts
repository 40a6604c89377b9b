/**
 * A Python program, `PROGRAM N COMMAND`, that runs the box's gate/codes, and does something else in place of the nth thing that others see:
 * a rename, the exchange of the two state files (which loads libc for it), a program, a word to the gate.
 * @param instead of Python, indented by none.
 */
export function cutCodes(instead: string): string {
  return `
import os, runpy, sys, time
left = int(sys.argv[1])
def hook(event, _):
    global left
    if event in ("os.rename", "ctypes.dlopen", "subprocess.Popen", "socket.connect"):
        left -= 1
        if left == 0:
            ${instead}
sys.addaudithook(hook)
sys.argv = ["codes", sys.argv[2]]
runpy.run_path("/usr/lib/clawdy/gate/codes", run_name="__main__")
`;
}
