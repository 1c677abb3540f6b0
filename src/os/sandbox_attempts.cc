#include "os/sandbox_attempts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>

#include <cerrno>
#include <csetjmp>
#include <cstring>
#include <filesystem>
#include <thread>

#include "os/os_error.h"
#include "os/paths.h"

namespace inferd::os {
namespace {

constexpr char kNowhere[] = "/inferd-no-such-path";
// execve() looks for the program first and reads its arguments then: from here it cannot.
char* const* const kNoArguments = reinterpret_cast<char* const*>(8);

char g_memory[8];  // the parent has it at the same address

long closed(long fd) {
  if (fd >= 0) ::close(static_cast<int>(fd));
  return fd;
}

/// In the child of a fork: ends it; in its parent: waits for that.
long ended(long pid) {
  if (pid == 0) ::_exit(0);
  if (pid > 0) ::waitpid(static_cast<pid_t>(pid), nullptr, __WALL);
  return pid;
}

class List {
 public:
  void add(std::string name, std::function<long()> run) { attempts_.push_back({std::move(name), std::move(run)}); }
  template <class... Arguments>
  void call(std::string name, long number, Arguments... arguments) {
    add(std::move(name), [=] { return ::syscall(number, arguments...); });
  }
  /// The same for a call that gives a descriptor.
  template <class... Arguments>
  void open(std::string name, long number, Arguments... arguments) {
    add(std::move(name), [=] { return closed(::syscall(number, arguments...)); });
  }
  std::vector<Attempt> take() { return std::move(attempts_); }

 private:
  std::vector<Attempt> attempts_;
};

void network(const Targets& t, List& list) {
  list.open("socket AF_INET", SYS_socket, AF_INET, SOCK_STREAM, 0);
  list.open("socket AF_INET, datagrams", SYS_socket, AF_INET, SOCK_DGRAM, 0);
  list.open("socket AF_INET6", SYS_socket, AF_INET6, SOCK_STREAM, 0);
  list.open("socket AF_UNIX", SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  list.open("socket AF_NETLINK", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
  list.open("socket AF_PACKET", SYS_socket, AF_PACKET, SOCK_RAW, 0);
  list.add("socket in another thread", [] {
    long fd = -1;
    int error = 0;
    std::thread([&] {
      fd = closed(::socket(AF_INET, SOCK_STREAM, 0));
      error = errno;
    }).join();
    errno = error;
    return fd;
  });
  list.add("socketpair", [] {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return -1L;
    closed(fds[0]);
    return closed(fds[1]);
  });
  // A socket that came from outside.
  const auto with_address = [&t, &list](const char* name, auto act) {
    list.add(name, [&t, act]() -> long {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(1);  // nobody listens there
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return act(t.tcp_socket.get(), address);
    });
  };
  with_address("connect to a TCP port", [](int fd, const sockaddr_in& to) {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  });
  with_address("bind to a TCP port", [](int fd, sockaddr_in at) {
    at.sin_port = 0;
    return ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at);
  });
  list.call("listen", SYS_listen, t.tcp_socket.get(), 1);
  list.open("accept4", SYS_accept4, t.tcp_socket.get(), nullptr, nullptr, 0);
  with_address("sendto an address", [](int fd, const sockaddr_in& to) {
    return ::sendto(fd, "x", 1, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  });
  list.call("setsockopt", SYS_setsockopt, t.tcp_socket.get(), SOL_SOCKET, SO_KEEPALIVE, nullptr, 0);
  list.add("connect to an abstract Unix socket", [&t] {
    const sockaddr_un to{.sun_family = AF_UNIX, .sun_path = "\0inferd-nobody"};
    return ::connect(t.unix_socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  });
}

void reading(const Targets& t, List& list) {
  const std::string parent = "/proc/" + std::to_string(::getppid());
  for (const std::string& path : {std::string("/etc/passwd"), t.file, std::string("/proc/self/maps"), std::string("/proc/self/mem"),
                                  std::string("/proc/self/fd/0"), parent + "/mem", parent + "/maps", std::string("/dev/null")}) {
    list.add("open " + path + " to read", [path] { return closed(::open(path.c_str(), O_RDONLY)); });
  }
  list.add("open the home folder", [&t] { return closed(::open(t.home.c_str(), O_RDONLY | O_DIRECTORY)); });
  list.add("list the home folder", [&t] {
    DIR* folder = ::opendir(t.home.c_str());
    if (folder == nullptr) return -1L;
    ::readdir(folder);
    ::closedir(folder);
    return 0L;
  });
  list.add("openat below an O_PATH descriptor", [&t] { return closed(::openat(t.folder_path.get(), "file", O_RDONLY)); });
  list.add("open with O_PATH", [] { return closed(::open("/etc/passwd", O_PATH)); });
  list.add("openat2", [] {
    open_how how{};
    return closed(::syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how));
  });
  list.open("open_tree", SYS_open_tree, AT_FDCWD, "/etc", 0);
  list.open("name_to_handle_at", SYS_name_to_handle_at, AT_FDCWD, "/etc", nullptr, nullptr, 0);
  list.add("open_by_handle_at", [&t] {
    file_handle handle{};
    return closed(::syscall(SYS_open_by_handle_at, t.folder_path.get(), &handle, O_RDONLY));
  });
  list.add("stat", [] {
    struct stat info;
    return ::stat("/etc/passwd", &info);
  });
  list.add("statx", [] {
    struct statx info;
    return ::statx(AT_FDCWD, "/etc/passwd", 0, STATX_SIZE, &info);
  });
  list.add("access", [] { return ::access("/etc/passwd", F_OK); });
  list.add("readlink", [] {
    char target[64];
    return ::readlink("/proc/self/exe", target, sizeof target);
  });
  list.add("getcwd", [] {
    char path[4096];
    return ::getcwd(path, sizeof path) == nullptr ? -1L : 0L;
  });
  list.add("chdir", [] { return ::chdir("/"); });
  list.add("getxattr", [&t] { return ::getxattr(t.file.c_str(), "user.inferd", nullptr, 0); });
  list.add("inotify_init1", [] { return closed(::syscall(SYS_inotify_init1, 0)); });
  list.open("fanotify_init", SYS_fanotify_init, 0, 0);
}

void writing(const Targets& t, List& list) {
  const auto made = [&list](const char* name, std::string path, int flags) {
    list.add(name, [path, flags] {
      const long fd = ::open(path.c_str(), flags | O_CREAT | O_EXCL, 0600);
      if (fd >= 0) ::unlink(path.c_str());
      return closed(fd);
    });
  };
  made("create a file in /tmp", t.folder + "/created", O_WRONLY);
  made("create a file in the home folder", t.home + "/.inferd-sandbox-probe", O_WRONLY);
  list.add("create a file below an O_PATH descriptor", [&t] {
    return closed(::openat(t.folder_path.get(), "created-below", O_WRONLY | O_CREAT, 0600));
  });
  list.add("open a file to write", [&t] { return closed(::open(t.file.c_str(), O_WRONLY)); });
  list.add("open a file with O_TRUNC", [&t] { return closed(::open(t.spare.c_str(), O_WRONLY | O_TRUNC)); });
  list.add("O_TMPFILE in /tmp", [] { return closed(::open("/tmp", O_RDWR | O_TMPFILE, 0600)); });
  list.add("O_TMPFILE in the home folder", [&t] { return closed(::open(t.home.c_str(), O_RDWR | O_TMPFILE, 0600)); });
  list.add("truncate", [&t] { return ::truncate(t.spare.c_str(), 0); });
  list.add("mkdir", [&t] { return ::mkdir((t.folder + "/made").c_str(), 0700); });
  list.add("mknod", [&t] { return ::mknod((t.folder + "/fifo").c_str(), S_IFIFO | 0600, 0); });
  list.add("symlink", [&t] { return ::symlink("file", (t.folder + "/symlink").c_str()); });
  list.add("link", [&t] { return ::link(t.file.c_str(), (t.folder + "/link").c_str()); });
  list.add("chmod", [&t] { return ::chmod(t.file.c_str(), 0600); });
  list.add("fchmod of an open file", [&t] { return ::fchmod(t.open_file.get(), 0600); });
  list.add("chown", [&t] { return ::chown(t.file.c_str(), ::getuid(), static_cast<gid_t>(-1)); });
  list.add("utimensat", [&t] { return ::utimensat(AT_FDCWD, t.file.c_str(), nullptr, 0); });
  list.add("setxattr", [&t] { return ::setxattr(t.file.c_str(), "user.inferd", "x", 1, 0); });
  list.add("rename", [&t] { return ::rename(t.spare.c_str(), (t.folder + "/renamed").c_str()); });
  list.add("unlink", [&t] { return ::unlink(t.file.c_str()); });
  list.add("rmdir", [&t] { return ::rmdir((t.folder + "/made").c_str()); });
  list.add("ioctl TIOCSTI", [&t] { return ::ioctl(t.open_file.get(), TIOCSTI, nullptr); });
  list.add("flock", [&t] { return ::syscall(SYS_flock, t.open_file.get(), 0); });
  list.add("fcntl F_SETOWN", [&t] { return ::fcntl(t.tcp_socket.get(), F_SETOWN, ::getppid()); });
  list.call("sendfile", SYS_sendfile, t.open_file.get(), t.open_file.get(), nullptr, 0);
}

void programs(const Targets& t, List& list) {
  list.call("execve", SYS_execve, "/bin/true", kNoArguments, nullptr);
  list.call("execveat of a memfd", SYS_execveat, t.program.get(), "", kNoArguments, nullptr, AT_EMPTY_PATH);
  list.add("fexecve", [&t] { return ::fexecve(t.program.get(), kNoArguments, environ); });
  list.add("fork", [] { return ended(::fork()); });
  list.add("vfork", []() -> long {
    const pid_t pid = ::vfork();
    if (pid == 0) ::_exit(0);
    return ended(pid);
  });
#ifdef SYS_fork
  list.add("fork, the system call", [] { return ended(::syscall(SYS_fork)); });
#endif
  list.add("clone without CLONE_THREAD", [] { return ended(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); });
  list.add("clone with CLONE_NEWUSER", [] {
    return ended(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  });
  list.add("clone3 of a process", [] {
    clone_args arguments{};
    arguments.exit_signal = SIGCHLD;
    return ended(::syscall(SYS_clone3, &arguments, sizeof arguments));
  });
  list.add("clone3 with CLONE_THREAD", [] {
    clone_args arguments{};
    arguments.flags = CLONE_THREAD;  // without CLONE_SIGHAND: a bad flag
    return ended(::syscall(SYS_clone3, &arguments, sizeof arguments));
  });
}

void processes(const Targets& t, List& list) {
  const pid_t parent = ::getppid();
  list.add("ptrace ATTACH to the parent", [parent]() -> long {
    const long got = ::ptrace(PTRACE_ATTACH, parent, nullptr, nullptr);
    if (got == 0) {
      ::waitpid(parent, nullptr, __WALL);
      ::ptrace(PTRACE_DETACH, parent, nullptr, nullptr);
    }
    return got;
  });
  const auto copy = [parent](auto act) {
    char here[sizeof g_memory] = {};
    const iovec local{.iov_base = here, .iov_len = sizeof here}, remote{.iov_base = g_memory, .iov_len = sizeof g_memory};
    return static_cast<long>(act(parent, &local, 1, &remote, 1, 0));
  };
  list.add("process_vm_readv of the parent", [copy] { return copy(&::process_vm_readv); });
  list.add("process_vm_writev to the parent", [copy] { return copy(&::process_vm_writev); });
  list.call("kill the parent with signal 0", SYS_kill, parent, 0);
  list.call("tgkill the parent with signal 0", SYS_tgkill, parent, parent, 0);
  list.add("kill ourselves with signal 0", [] { return ::kill(::getpid(), 0); });
  list.add("rt_sigqueueinfo to the parent", [parent] {
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    return ::syscall(SYS_rt_sigqueueinfo, parent, 0, &info);
  });
  list.open("pidfd_open of the parent", SYS_pidfd_open, parent, 0);
  list.open("pidfd_getfd from the parent", SYS_pidfd_getfd, t.parent.get(), 0, 0);
  list.call("pidfd_send_signal to the parent", SYS_pidfd_send_signal, t.parent.get(), 0, nullptr, 0);
  list.call("process_madvise of the parent", SYS_process_madvise, t.parent.get(), nullptr, 0, MADV_COLD, 0);
  list.add("prlimit of the parent", [parent] {
    rlimit limit;
    return ::prlimit(parent, RLIMIT_NOFILE, nullptr, &limit);
  });
  list.add("sched_setaffinity of the parent", [parent] {
    cpu_set_t cpus;
    if (::sched_getaffinity(parent, sizeof cpus, &cpus) != 0) return -1;
    return ::sched_setaffinity(parent, sizeof cpus, &cpus);
  });
  list.add("setpriority", [] { return ::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0)); });
  list.call("setpgid", SYS_setpgid, 0, 0);
}

void memory(const Targets& t, List& list) {
  list.add("mmap with PROT_EXEC", [] {
    void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? -1L : long{::munmap(at, 4096)};
  });
  list.add("mmap with PROT_EXEC of a memfd", [&t] {
    void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, t.program.get(), 0);
    return at == MAP_FAILED ? -1L : long{::munmap(at, 4096)};
  });
  const auto made_executable = [](auto protect) {
    void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const long got = protect(at);
    const int error = errno;
    ::munmap(at, 4096);
    errno = error;
    return got;
  };
  list.add("mprotect with PROT_EXEC", [made_executable] {
    return made_executable([](void* at) { return ::mprotect(at, 4096, PROT_READ | PROT_EXEC); });
  });
  list.add("pkey_mprotect with PROT_EXEC", [made_executable] {
    return made_executable([](void* at) { return ::syscall(SYS_pkey_mprotect, at, 4096, PROT_READ | PROT_EXEC, -1); });
  });
  list.call("mlock", SYS_mlock, g_memory, 1);
  list.open("userfaultfd", SYS_userfaultfd, UFFD_USER_MODE_ONLY);
  list.open("memfd_secret", SYS_memfd_secret, 0);
}

void between_processes(const Targets&, List& list) {
  list.add("shmget", [] {
    const int id = ::shmget(IPC_PRIVATE, 4096, 0600);
    return id < 0 ? id : ::shmctl(id, IPC_RMID, nullptr);
  });
  list.add("msgget", [] {
    const int id = ::msgget(IPC_PRIVATE, 0600);
    return id < 0 ? id : ::msgctl(id, IPC_RMID, nullptr);
  });
  list.add("semget", [] {
    const int id = ::semget(IPC_PRIVATE, 1, 0600);
    return id < 0 ? id : ::semctl(id, 0, IPC_RMID);
  });
  list.add("shm_open", [] {
    const long fd = ::shm_open("/inferd-sandbox-probe", O_RDWR | O_CREAT, 0600);
    if (fd >= 0) ::shm_unlink("/inferd-sandbox-probe");
    return closed(fd);
  });
  list.add("mq_open", [] {
    const long fd = ::syscall(SYS_mq_open, "inferd-sandbox-probe", O_RDWR | O_CREAT, 0600, nullptr);
    if (fd >= 0) ::syscall(SYS_mq_unlink, "inferd-sandbox-probe");
    return closed(fd);
  });
  list.add("pipe2", [] {
    int fds[2];
    if (::pipe2(fds, 0) != 0) return -1L;
    closed(fds[0]);
    return closed(fds[1]);
  });
}

#ifdef __x86_64__
// System calls of i386 have numbers of their own; a filter that looks at the number alone would let them through.
sigjmp_buf g_without_i386;

long i386_getpid() {
  if (sigsetjmp(g_without_i386, 1) != 0) {
    errno = ENOSYS;  // this kernel has no such gate
    return -1;
  }
  ::signal(SIGSEGV, [](int) { siglongjmp(g_without_i386, 1); });
  int result;
  asm volatile("int $0x80" : "=a"(result) : "0"(20) : "memory", "r8", "r9", "r10", "r11");
  ::signal(SIGSEGV, SIG_DFL);
  if (result >= 0) return result;
  errno = -result;
  return -1;
}
#endif

void kernel(const Targets&, List& list) {
  list.add("io_uring_setup", [] {
    io_uring_params parameters{};
    return closed(::syscall(SYS_io_uring_setup, 1, &parameters));
  });
  list.add("bpf", [] {
    bpf_attr attributes{};
    return ::syscall(SYS_bpf, 9999, &attributes, sizeof attributes);
  });
  list.add("perf_event_open", [] {
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.size = sizeof attributes;
    attributes.config = PERF_COUNT_SW_DUMMY;
    attributes.exclude_kernel = 1;
    return closed(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
  });
  list.call("add_key", SYS_add_key, "user", "inferd-sandbox-probe", "x", 1, KEY_SPEC_PROCESS_KEYRING);
  list.call("keyctl", SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0);
  list.call("request_key", SYS_request_key, "user", "inferd-sandbox-probe", nullptr, KEY_SPEC_PROCESS_KEYRING);
#ifdef __x86_64__
  list.add("a system call of i386", &i386_getpid);
  list.call("a system call of x32", 0x40000000L | SYS_getpid);
  list.call("ioperm", SYS_ioperm, 0x80, 1, 1);
  list.call("iopl", SYS_iopl, 3);
  list.call("modify_ldt", SYS_modify_ldt, 0, nullptr, 0);
#endif
}

void system(const Targets& t, List& list) {
  list.call("mount", SYS_mount, "none", t.folder.c_str(), "inferd-no-such-type", 0, nullptr);
  list.call("umount2", SYS_umount2, t.folder.c_str(), 0);
  list.open("fsopen", SYS_fsopen, "tmpfs", 0);
  list.call("move_mount", SYS_move_mount, AT_FDCWD, kNowhere, AT_FDCWD, kNowhere, 0);
  list.call("pivot_root", SYS_pivot_root, kNowhere, kNowhere);
  list.call("chroot", SYS_chroot, kNowhere);
  list.call("unshare CLONE_NEWUSER", SYS_unshare, CLONE_NEWUSER | 1);  // 1: a bad flag
  list.call("unshare CLONE_FS", SYS_unshare, CLONE_FS);
  list.call("setns", SYS_setns, t.parent.get(), 0);
  list.call("swapon", SYS_swapon, kNowhere, 0);
  list.call("swapoff", SYS_swapoff, kNowhere);
  list.call("acct", SYS_acct, kNowhere);
  list.call("quotactl", SYS_quotactl, 0, kNowhere, 0, nullptr);
  list.call("syslog", SYS_syslog, 10, nullptr, 0);  // 10: how long is it
  list.call("init_module", SYS_init_module, nullptr, 0, "");
  list.call("delete_module", SYS_delete_module, "inferd_no_such_module", O_NONBLOCK);
  list.call("kexec_load", SYS_kexec_load, 0, 0, nullptr, 0x8000);
  list.call("reboot", SYS_reboot, 0, 0, 0, nullptr);
  list.call("sethostname", SYS_sethostname, "x", -1);
  list.add("settimeofday", [] {
    const timeval never{.tv_sec = 0, .tv_usec = 2'000'000};
    return ::syscall(SYS_settimeofday, &never, nullptr);
  });
  list.add("clock_settime", [] {
    const timespec never{.tv_sec = 0, .tv_nsec = 2'000'000'000};
    return ::syscall(SYS_clock_settime, CLOCK_REALTIME, &never);
  });
}

void own_rights(const Targets&, List& list) {
  list.call("setuid", SYS_setresuid, -1, -1, -1);
  list.call("setgid", SYS_setresgid, -1, -1, -1);
  list.call("setgroups", SYS_setgroups, -1, nullptr);
  list.add("capset", [] {
    __user_cap_header_struct header{.version = 0, .pid = 0};
    const __user_cap_data_struct all[_LINUX_CAPABILITY_U32S_3] = {};
    return ::syscall(SYS_capset, &header, all);
  });
  list.add("setrlimit", [] {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
    return ::setrlimit(RLIMIT_NOFILE, &limit);
  });
  list.call("personality", SYS_personality, 0xffffffff);  // asks only
  list.call("prctl PR_SET_DUMPABLE", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  list.call("seccomp", SYS_seccomp, 9999, 0, nullptr);
  list.call("landlock_create_ruleset", SYS_landlock_create_ruleset, nullptr, 0, 1);
}

}  // namespace

Result<Targets> make_targets() {
  Targets t;
  t.home = env("HOME").value_or("/");
  t.folder = "/tmp/inferd-sandbox-probe-XXXXXX";
  if (::mkdtemp(t.folder.data()) == nullptr) return os_fail(errno, "make a folder in /tmp");
  t.file = t.folder + "/file";
  t.spare = t.folder + "/spare";
  const UniqueFd spare(::open(t.spare.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  t.open_file = UniqueFd(::open(t.file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  t.folder_path = UniqueFd(::open(t.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  t.tcp_socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  t.unix_socket = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  t.program = UniqueFd(::memfd_create("inferd-sandbox-probe", MFD_CLOEXEC));
  t.parent = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!spare || !t.open_file || !t.folder_path || !t.tcp_socket || !t.unix_socket || !t.program || !t.parent ||
      ::ftruncate(t.program.get(), 4096) != 0) {
    auto error = os_fail(errno, "make what the probe tries to reach");
    remove_targets(t);
    return error;
  }
  return t;
}

void remove_targets(const Targets& targets) {
  std::error_code ignored;
  std::filesystem::remove_all(targets.folder, ignored);
}

std::vector<Attempt> escape_attempts(const Targets& targets) {
  List list;
  for (const auto add : {network, reading, writing, programs, processes, memory, between_processes, kernel, system, own_rights}) {
    add(targets, list);
  }
  // The last one: a signal would stop us from then on.
  list.add("ptrace TRACEME", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  return list.take();
}

}  // namespace inferd::os
