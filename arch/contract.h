#pragma once

// What a port must give. Each architecture has a folder with files of these names; arch/meson.build picks one.
// `#if` on the architecture stands nowhere else.
//
//   agent_calls.h   raw_syscall, clone_thread: used inside the agent
//   entry.{h,cc}    enter_agent: leaves our own stack and starts a program in a forked child; code stubs written into tracees
//   registers.{h,cc} a thread's registers between ptrace and core_entry, system call restart
//   core_notes.{h,cc} a thread's registers between core_entry and the notes of an ELF core
//   vdso            which areas of an address space are the vdso's, how it is moved
