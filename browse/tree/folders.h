#pragma once

#include <vector>

#include "browse/tree/tree.h"

// The kinds of folders.
namespace faultline::browse {

// Few files with fixed names.
std::unique_ptr<Folder> fixed_folder(std::vector<Folder::Entry> entries);

// Files whose names are numbers, sorted: processes, threads, descriptors. `task`, `index`: of the node of the file that has position i.
struct Numbered {
  NodeKind kind;
  uint32_t task;  // ignored if the position is that of the process
  bool position_is_task;
};
std::unique_ptr<Folder> numbered_folder(std::vector<uint32_t> numbers, Numbered form);

// The areas of a process, but those of the kernel ([vvar], [vsyscall]).
std::unique_ptr<Folder> areas_folder(std::shared_ptr<const AddressSpace> memory, uint32_t task);

// The files of the checkpoint, as they are or as JSON.
std::unique_ptr<Folder> raw_folder(const Images& images);
std::unique_ptr<Folder> json_folder(const Images& images);
// Whether an image consists of messages: pages, archives and logs do not.
bool has_json(const Images::File& file);

// The children of a process, and the link to its folder in tasks/; without a process: those that have no parent here.
std::unique_ptr<Folder> tree_folder(const Snapshot& snapshot, std::optional<uint32_t> task);

// Objects of one kind, by the names that their table gives, then those that have numbers only: the contents of shared memory.
std::unique_ptr<Folder> objects_folder(std::shared_ptr<const std::vector<std::string>> names, uint32_t table, std::vector<uint32_t> shared_memory);

// Decimal, as the kernel writes it: nullopt for "01".
std::optional<uint32_t> number_of(std::string_view text);

}  // namespace faultline::browse
