// about: a program in an outside session is refused without --shell-job
// expect: refused shell-job
// session: outside

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  ready();
  wait_for_go();
  return 0;
}
