// about: a POSIX message queue is refused
// expect: refused mqueue|message queue|kernel

#include <mqueue.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  mqd_t queue = mq_open("/scenario", O_RDWR | O_CREAT, 0600, NULL);
  if (queue < 0) skip("no message queues here: %s", strerror(errno));
  SYS(mq_send(queue, "queued", 6, 1));
  mq_unlink("/scenario");
  ready();
  wait_for_go();
  char buffer[65536];
  CHECK(mq_receive(queue, buffer, sizeof buffer, NULL) == 6, "the message is lost");
  return 0;
}
