// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP
#define LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP

// Denormal numbers are those below the smallest normal one, 1e-38 in float. Many processors take a
// hundred times as long over each of them, and a stream that fades away ends in them. So the
// library takes them for zero, operands as well as results, for as long as a call of it lasts.
//
// LOGLINEAR_KEEP_DENORMALS leaves the processor's mode alone. So does the library for scalars other
// than float and double, and on processors that are not known here.

#include <type_traits>

#if !defined(LOGLINEAR_KEEP_DENORMALS) && defined(__GNUC__)
#  if defined(__SSE2_MATH__) && (defined(__x86_64__) || defined(__SSE3__))
#    define LOGLINEAR_FLUSHES_BY_MXCSR
#  elif defined(__aarch64__)
#    define LOGLINEAR_FLUSHES_BY_FPCR
#  elif defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__)
#    define LOGLINEAR_FLUSHES_BY_FPSCR
#  endif
#endif

namespace loglinear::detail {

/// The register of this thread that says how floating-point numbers are computed. The bits of
/// `flush` take denormal numbers for zero; those of `raised` are flags that operations raise.
struct FloatingPointControl {
#if defined(LOGLINEAR_FLUSHES_BY_MXCSR)
  static constexpr bool can_flush = true;
  using Word = unsigned;
  static constexpr Word flush = 0x8040;  // results (FTZ) and operands (DAZ)
  static constexpr Word raised = 0x3F;
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("stmxcsr %0" : "=m"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("ldmxcsr %0" : : "m"(word) : "memory");
  }
#elif defined(LOGLINEAR_FLUSHES_BY_FPCR)
  static constexpr bool can_flush = true;
  using Word = unsigned long;
  static constexpr Word flush = 1ul << 24;  // FZ, both
  static constexpr Word raised = 0;         // elsewhere, in FPSR
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory");
  }
#elif defined(LOGLINEAR_FLUSHES_BY_FPSCR)
  static constexpr bool can_flush = true;
  using Word = unsigned;
  static constexpr Word flush = 1u << 24;  // FZ, both
  static constexpr Word raised = 0x9F;
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("vmsr fpscr, %0" : : "r"(word) : "memory");
  }
#else
  static constexpr bool can_flush = false;
  using Word = unsigned;
  static constexpr Word flush = 0, raised = 0;
  [[nodiscard]] static Word read() noexcept {
    return 0;
  }
  static void write(Word) noexcept {}
#endif
  /// From now on this thread computes in the mode of the thread that has read `word`. Its flags
  /// stay.
  static void follow(Word word) noexcept {
    write((word & ~raised) | (read() & raised));
  }
};

/// Whether `FlushToZero<Scalar>` does anything.
template <class Scalar>
inline constexpr bool flushes_to_zero = FloatingPointControl::can_flush &&
                                        (std::is_same_v<Scalar, float> ||
                                         std::is_same_v<Scalar, double>);

/// While it lives, this thread takes denormal numbers for zero. It leaves the mode as it found it,
/// with the exception flags that operations have raised meanwhile. One inside another only reads
/// the register.
///
/// A thread inherits the mode of the one that starts it and keeps it: call `pause` before threads
/// are started that are not the library's.
template <class Scalar>
class FlushToZero {
  using Control = FloatingPointControl;

 public:
  FlushToZero() noexcept { resume(); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;
  ~FlushToZero() { pause(); }

  /// Back to the mode that it found.
  void pause() noexcept {
    if constexpr (flushes_to_zero<Scalar>) {
      if (added_ != 0) Control::write(Control::read() & ~added_);
    }
  }
  void resume() noexcept {
    if constexpr (flushes_to_zero<Scalar>) {
      const Control::Word before = Control::read();
      added_ = Control::flush & ~before;
      if (added_ != 0) Control::write(before | Control::flush);
    }
  }

 private:
  Control::Word added_ = 0;  // the bits that were not set before
};

}  // namespace loglinear::detail

#undef LOGLINEAR_FLUSHES_BY_MXCSR
#undef LOGLINEAR_FLUSHES_BY_FPCR
#undef LOGLINEAR_FLUSHES_BY_FPSCR

#endif  // LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP
