#include <algorithm>
#include <cmath>

#include "browse/heat.h"
#include "browse/summary.h"
#include "core/base/progress.h"
#include "core/image/json_writer.h"
#include "core/image/present.h"

namespace faultline::browse {

namespace {

using Band = Heat::Band;

constexpr unsigned kRows = 16, kMargin = 9, kLeastColumns = 20;
constexpr size_t kMostAreas = 12;

double part(uint64_t of, uint64_t all) { return all ? static_cast<double>(of) / static_cast<double>(all) : 0.0; }

// A sign for a share of the most, 0 to 1; anything above 0 is seen.
const char* shade(double share, bool unicode) {
  constexpr const char* kShades[] = {" ", "░", "▒", "▓", "█"};
  constexpr const char* kPlain[] = {" ", ".", ":", "*", "#"};
  const auto level = share <= 0 ? 0u : std::clamp(static_cast<unsigned>(std::ceil(share * 4)), 1u, 4u);
  return unicode ? kShades[level] : kPlain[level];
}

const char* height(double share, bool unicode) {
  constexpr const char* kHeights[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr const char* kPlain[] = {" ", "_", ".", ".", "-", "-", "=", "=", "#"};
  const auto level = share <= 0 ? 0u : std::clamp(static_cast<unsigned>(std::ceil(share * 8)), 1u, 8u);
  return unicode ? kHeights[level] : kPlain[level];
}

// The column of a position; also where there are fewer pages than columns.
unsigned column_of(uint64_t position, uint64_t pages, unsigned columns) {
  return static_cast<unsigned>(std::min<uint64_t>(static_cast<uint64_t>(part(position, pages) * columns), columns - 1));
}

std::string picture(const Heat& heat, unsigned columns, bool unicode) {
  std::vector<uint64_t> cells(size_t{kRows} * columns), sums(columns), stored(columns);
  const size_t ranks = heat.touches.back().rank + 1;
  for (const Heat::Touch& touch : heat.touches) {
    const unsigned column = column_of(touch.position, heat.pages, columns);
    const auto row = static_cast<unsigned>(touch.rank * kRows / ranks);
    ++cells[size_t{row} * columns + column];
    ++sums[column];
  }
  const uint64_t most = *std::ranges::max_element(cells);
  const char* side = unicode ? "│" : "|";
  std::string text;
  for (unsigned row = 0; row < kRows; ++row) {
    text += fmt::format("{:>7} {}", row % 5 == 0 || row == kRows - 1 ? fmt::format("#{}", row == kRows - 1 ? ranks : ranks * row / kRows + 1) : "", side);
    for (unsigned column = 0; column < columns; ++column) text += shade(part(cells[size_t{row} * columns + column], most), unicode);
    text += '\n';
  }
  text += fmt::format("{:>7} {}", "", unicode ? "└" : "+");
  for (unsigned column = 0; column < columns; ++column) text += unicode ? "─" : "-";
  text += fmt::format("\n{:>7}  ", "density");
  for (unsigned column = 0; column < columns; ++column) {
    const double here = std::max(1.0, static_cast<double>(heat.pages) / columns);
    text += height(std::min(1.0, static_cast<double>(sums[column]) / here), unicode);
  }
  return text + '\n';
}

// The bands that were touched most, in the order of their addresses.
std::vector<const Band*> named_bands(const Heat& heat) {
  std::vector<const Band*> bands;
  for (const Band& band : heat.bands)
    if (band.touched) bands.push_back(&band);
  std::ranges::stable_sort(bands, std::ranges::greater(), &Band::touched);
  if (bands.size() > kMostAreas) bands.resize(kMostAreas);
  std::ranges::sort(bands, {}, &Band::first);
  return bands;
}

// Which letter stands for what is in each column.
std::string letters(const Heat& heat, const std::vector<const Band*>& bands, unsigned columns) {
  std::string line(columns, ' ');
  for (size_t i = 0; i < bands.size(); ++i) {
    const unsigned from = column_of(bands[i]->first, heat.pages, columns), to = column_of(bands[i]->first + bands[i]->pages - 1, heat.pages, columns);
    for (unsigned column = from; column <= to; ++column)
      if (line[column] == ' ' || column == from) line[column] = static_cast<char>('a' + i);
  }
  return line;
}

std::string table(const std::vector<const Band*>& bands, unsigned width) {
  std::string text = fmt::format("\n     {:<29} {:>9} {:>9} {:>7} {:>7}  {}\n", "ADDRESSES", "TOUCHED", "STORED", "", "FIRST", "NAME");
  for (size_t i = 0; i < bands.size(); ++i) {
    const Band& b = *bands[i];
    std::string line = fmt::format("  {}  {:<29} {:>9} {:>9} {:>5.1f} % {:>7}  ", static_cast<char>('a' + i), fmt::format("{:x}-{:x}", b.start, b.end), b.touched, b.pages,
                                   part(b.touched, b.pages) * 100, fmt::format("#{}", b.rank + 1));
    std::string name = image::printable(b.name);
    if (b.areas > 1) name += fmt::format("{}(and {} areas behind it)", name.empty() ? "" : " ", b.areas - 1);
    const size_t room = width > line.size() + 10 ? width - line.size() : 10;
    text += line + (name.size() > room ? "..." + name.substr(name.size() - room + 3) : name) + '\n';
  }
  return text;
}

void put(image::JsonWriter& out, std::string_view key, uint64_t value) { out.key(key), out.number(value); }
void put(image::JsonWriter& out, std::string_view key, const std::string& value) {
  out.key(key);
  out.text(image::is_utf8(value) ? value : image::show_bytes(value));
}

void put_band(image::JsonWriter& out, const Band& band) {
  out.open_object();
  put(out, "start", fmt::format("{:#x}", band.start)), put(out, "end", fmt::format("{:#x}", band.end));
  put(out, "name", band.name);
  put(out, "areas", band.areas);
  put(out, "first", band.first), put(out, "pages", band.pages);
  put(out, "touched", band.touched);
  if (band.touched) put(out, "rank", band.rank);
  out.close_object();
}

}  // namespace

std::string heat_text(const Heat& heat, unsigned width, bool unicode) {
  std::string text = fmt::format("Process {} ({}): {} of {} stored pages ({:.1f} %, {}) were recorded, in the order in which they were touched\n", heat.pid,
                                 image::printable(heat.comm), heat.touches.size(), heat.pages, part(heat.touches.size(), heat.pages) * 100,
                                 human_size(heat.touches.size() * kPageSize));
  if (heat.elsewhere) text += fmt::format("{} more are not stored in this checkpoint: the recording is of another one\n", heat.elsewhere);
  if (heat.touches.empty() || heat.pages == 0) return text;
  const unsigned columns = std::max(width > kMargin ? width - kMargin : 0, kLeastColumns);
  const auto bands = named_bands(heat);
  text += fmt::format("{:>7}  stored pages, by address {} ({:#x} to {:#x})\n", "order", unicode ? "→" : "->", heat.bands.empty() ? 0 : heat.bands.front().start,
                      heat.bands.empty() ? 0 : heat.bands.back().end);
  text += picture(heat, columns, unicode);
  text += fmt::format("{:>7}  {}\n", "area", letters(heat, bands, columns));
  return text + table(bands, width);
}

std::string heat_json(std::span<const Heat> heats) {
  image::JsonWriter out;
  out.open_array();
  for (const Heat& heat : heats) {
    out.open_object();
    put(out, "pid", heat.pid);
    put(out, "comm", heat.comm);
    put(out, "stored_pages", heat.pages), put(out, "touched_pages", heat.touches.size()), put(out, "touched_elsewhere", heat.elsewhere);
    out.key("areas");
    out.open_array();
    for (const Band& band : heat.bands) put_band(out, band);
    out.close_array();
    // Addresses and positions in the order of touches: two lists, because there may be tens of thousands.
    out.key("addresses");
    out.open_array();
    for (const Heat::Touch& touch : heat.touches) out.number(touch.address);
    out.close_array();
    out.key("positions");
    out.open_array();
    for (const Heat::Touch& touch : heat.touches) out.number(touch.position);
    out.close_array();
    out.close_object();
  }
  out.close_array();
  return out.take();
}

}  // namespace faultline::browse
