// What tells the Arduino IDE to look into that library; the host's compiler is told where its sources are.
#pragma once
