// Package faultpoint names the places of the program at which a fault is worst, so that tests can put one there.
//
// Without the build tag faults, Hit is empty and compiles to nothing. With it, the environment says what happens where:
//
//	COCKPIT_FAULTS=worker.after-publish:3:kill,fold.before-commit:1:stop,worker.after-publish:*:sleep=200ms
//
// is a list of name, which hit of it (* is every one), and what: kill (SIGKILL), stop (SIGSTOP) or sleep. Before it does
// anything, Hit appends the name, the process's id and what it does as a line to the file that COCKPIT_FAULTS_LOG names:
// that is the proof that the fault fired. Errors are not among the faults, since real stores give real ones.
//
// A list that can't be read is a panic at the first Hit: a fault that silently does not happen would prove nothing.
package faultpoint
