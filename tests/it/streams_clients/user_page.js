// 1. SSE 연결
const eventSource = new EventSource(`/api/v1/deploy/${deploymentId}/events`);

// 2. Stage 이벤트 처리
eventSource.addEventListener('stage', (event) => {
  const data = JSON.parse(event.data);
  console.log('Stage:', data.message);
  console.log('Details:', data.details);

  // 배포 준비 완료 상태 감지
  if (data.message.includes('트래픽 전환 대기')) {
    // UI: "배포 준비 완료, 사용자 확인 필요" 표시
    // 버튼: "트래픽 전환" 활성화
    showManualSwitchButton();
  }

  // 프로그레스 업데이트
  updateProgressUI(data.details.stage);
});

// 3. Success 이벤트 처리
eventSource.addEventListener('success', (event) => {
  const data = JSON.parse(event.data);
  console.log('Success:', data.message);

  // UI: "배포 완료" 메시지 표시
  showSuccessMessage(data.message);

  // SSE 연결 종료
  eventSource.close();
});

// 4. Fail 이벤트 처리
eventSource.addEventListener('fail', (event) => {
  const data = JSON.parse(event.data);
  console.error('Failed:', data.message);

  // UI: 에러 메시지 표시
  showErrorMessage(data.message);

  // SSE 연결 종료
  eventSource.close();
});

// 5. 에러 처리
eventSource.onerror = (error) => {
  console.error('SSE Error:', error);
  eventSource.close();
};

// 배포 준비 상태에서 사용자가 버튼을 클릭한 경우
async function manuallySwitch(deploymentId) {
  try {
    const response = await fetch(
      `/api/v1/deploy/${deploymentId}/switch`,
      { method: 'POST' }
    );

    const result = await response.json();
    console.log('Traffic switch result:', result);

    if (response.ok) {
      // 배포 상태 조회
      const finalResult = await fetch(
        `/api/v1/deploy/${deploymentId}/result`
      ).then(r => r.json());

      console.log('Final deployment result:', finalResult);
      // UI: 최종 결과 표시
    }
  } catch (error) {
    console.error('Traffic switch failed:', error);
  }
}

// 이전 배포 상태 확인 (재접속 시)
async function getDeploymentResult(deploymentId) {
  const result = await fetch(
    `/api/v1/deploy/${deploymentId}/result`
  ).then(r => r.json());

  // result 형식:
  // {
  //   code: 200,
  //   message: "배포 결과 조회 성공",
  //   data: {
  //     deploymentId: "...",
  //     status: "DEPLOYMENT_READY" | "COMPLETED" | "FAILED",
  //     blueUrl: "...",
  //     greenUrl: "...",
  //     errorMessage: "..." (실패 시)
  //   }
  // }

  console.log('Deployment status:', result.data.status);
}
