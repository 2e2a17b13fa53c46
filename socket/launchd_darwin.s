#include "textflag.h"

// Where the C functions are that launchd_darwin.go calls. Their addresses are
// known only to the dynamic linker, which fills them in for a jump.

TEXT libc_launch_activate_socket_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_launch_activate_socket(SB)
GLOBL	·launchActivateSocket(SB), RODATA, $8
DATA	·launchActivateSocket(SB)/8, $libc_launch_activate_socket_trampoline<>(SB)

TEXT libc_free_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_free(SB)
GLOBL	·free(SB), RODATA, $8
DATA	·free(SB)/8, $libc_free_trampoline<>(SB)
